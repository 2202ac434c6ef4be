"""A model argument: its name, its identity, and how it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import ModelLike, file_of, names_of, packages
from trm_export.api.loading import as_step_model, refuse_model
from trm_export.checkpoints.keras_file import open_keras
from trm_export.errors import UsageError
from trm_export.files import sha256_file
from trm_export.step.model_facts import ModelHints, given_hints, hinted
from trm_runtime.parity.contracts import SIZES, sizes_of

if TYPE_CHECKING:
    from trm_export.step.step_model import StepModel
    from trm_runtime.contract import StepContract


def refuse_facts(file: Path, trust: Sequence[str], hints: ModelHints | None) -> None:
    """UsageError for what is stated about a model, beside an exported file."""
    given = {**hinted(given_hints(hints)), "--trust-module": bool(names_of("trust", trust))}
    named = ", ".join(option for option, is_given in given.items() if is_given)
    if named:
        raise UsageError(f"{named}: {file} is an exported file, which describes itself; drop it.")


@dataclass(frozen=True)
class ModelSource:
    """A model in a file or in memory, opened when it is needed.

    `assumed` is the contract of an export, with the facts that neither model nor caller states.
    """

    model: ModelLike
    trust: Sequence[str] = ()
    hints: ModelHints | None = None
    assumed: StepContract | None = None

    @property
    def file(self) -> Path | None:
        """Its file; None for a model in memory."""
        return file_of(self.model)

    @property
    def name(self) -> str:
        """The name of its file, or its own."""
        return self.model_name if self.file is None else self.file.name

    @property
    def model_name(self) -> str:
        """The Keras name of a model in memory."""
        return str(getattr(self.model, "name", "model"))

    def refuse(self) -> None:
        """Raises what `refuse_model` raises, and UsageError for hints that are none."""
        given_hints(self.hints)
        refuse_model(self.model, self.trust)

    def open(self, *, any_backend: bool = False) -> StepModel:
        """The adapted model; see `as_step_model`."""
        hints = replace(given_hints(self.hints), assumed=self.assumed)
        return as_step_model(self.model, self.trust, hints, any_backend=any_backend)

    def document(self) -> dict[str, Any]:
        """What identifies the model, the hints and the trusted packages."""
        return {"model": self._identity(), "hints": self.hints, "trust": packages(self.trust)}

    def matches(self, provenance: Any, weights_sha256: str) -> bool:
        """Whether a recording with this provenance and these weights is of this model."""
        if self.file is not None:
            return bool(provenance.get("model_sha256") == sha256_file(self.file))
        return self.open(any_backend=True).weights.sha256 == weights_sha256

    def has_weights(self, sha256: str) -> bool:
        """Whether its weights have this checksum; its file answers without Keras."""
        if self.file is not None:
            found = open_keras(self.file, packages(self.trust))
            if found.is_ours or found.info.weights_sha256 == sha256:
                return found.info.weights_sha256 == sha256
        return self.open(any_backend=True).weights.sha256 == sha256

    def sizes(self) -> dict[str, int]:
        """Its `SIZES`; a file of ours answers without Keras."""
        if self.file is not None:
            found = open_keras(self.file, packages(self.trust))
            if found.is_ours:
                return {name: found.config[name] for name in SIZES if name in found.config}
        from trm_export.step.signature import contract_for

        return sizes_of(contract_for(self.open(any_backend=True)))

    def _identity(self) -> Any:
        if self.file is not None:
            return sha256_file(self.file)
        from trm_export.step.signature import contract_for

        return contract_for(self.open(any_backend=True)).document()
