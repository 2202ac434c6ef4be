"""What `reference` and `parity` share: the options of a recording, and how it is made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trm_export.commands.support.model_options import ModelOptions, opened
from trm_export.commands.support.puzzle_options import chosen_puzzles

if TYPE_CHECKING:
    from trm_export.step.devices import Device
    from trm_runtime.contract import StepContract
    from trm_runtime.parity import Golden

DeviceName = Annotated[
    str, typer.Option("--device", help="auto (a GPU where Keras sees one), gpu or cpu.")
]
RequireGpu = Annotated[bool, typer.Option("--require-gpu", help="Fail where there is no GPU.")]


@dataclass(frozen=True)
class Recording:
    """A reference to be recorded, as the command line asks for it.

    `assumed` is the contract of an export, which answers what neither model nor person says;
    `control` None measures the noise floor where there is one; `states` the bytes of states to
    keep.
    """

    model: Path
    said: ModelOptions
    assumed: StepContract | None
    puzzles: Path | None
    task: str | None
    blanks: str | None
    count: int
    batch_size: int
    device: str
    require_gpu: bool
    control: bool | None
    states: int

    def job(self) -> dict[str, Any]:
        """What the recording depends on, in plain JSON types."""
        from trm_export.files import sha256_tree

        files = {"model": self.model, "puzzles": self.puzzles}
        digests = {name: sha256_tree(path) for name, path in files.items() if path is not None}
        names = ("task", "blanks", "count", "batch_size", "device", "control", "states", "said")
        return {
            **digests,
            **{name: getattr(self, name) for name in names},
            "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        }

    def into(self, path: Path, *, force: bool = False) -> Golden:
        """Records into this file, and opens it."""
        from trm_export.api.frameworks import load_keras
        from trm_export.commands.support.console import progress

        load_keras(any_backend=True)
        from trm_export.parity.recording import record_file
        from trm_export.step.devices import computing_on
        from trm_export.step.signature import contract_for
        from trm_runtime.parity import GoldenOrigin

        with computing_on(self.device, require_gpu=self.require_gpu) as where:
            found = opened(self.model, self.said, self.assumed)
            contract = contract_for(found)
            rows = chosen_puzzles(contract, self.puzzles, self.task, self.blanks, self.count)
            about = GoldenOrigin(rows.kind, self.task, self._provenance(where, found.keras))
            with progress("Recording", 1.0) as advance:
                return record_file(
                    found, rows, path, about, control=self.control, budget=self.states,
                    batch_size=self.batch_size, force=force, progress=advance,
                )  # fmt: skip

    def refuse_other(self, golden: Golden, path: Path) -> None:
        """RejectedInputError if the golden of a file was recorded from another model than this."""
        from trm_export.errors import RejectedInputError
        from trm_export.files import sha256_file

        made_from = golden.about.provenance
        if made_from.get("model_sha256") != sha256_file(self.model):
            raise RejectedInputError(
                f"{path}: was recorded from another model than {self.model} "
                f"({made_from.get('model')}); record it again with: trm-export reference"
            )

    def _provenance(self, where: Device, keras_model: Any) -> dict[str, Any]:
        """Where a golden comes from, without a word about when."""
        from trm_export import TOOL, __version__
        from trm_export.files import sha256_file

        return {
            "made_by": f"{TOOL} {__version__}",
            "model": self.model.name,
            "model_sha256": sha256_file(self.model),
            "puzzles": "shipped test puzzles" if self.puzzles is None else self.puzzles.name,
            "device": where.document(),
            "dtype_policy": keras_model.dtype_policy.name,
        }
