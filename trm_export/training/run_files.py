"""The files of one training run, named after its model, and when they may be overwritten.

Imports no framework, so that a command can check its options before it loads one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm_export.checkpoints.keras_file import require_keras
from trm_export.errors import OverwriteError, RejectedInputError, UsageError, reason_of
from trm_export.files import atomic_write, refuse_overwrite, refuse_source, require_suffix
from trm_export.training.recipe import Recipe
from trm_export.version import TOOL
from trm_runtime import strict_json
from trm_runtime.message_text import counted


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files beside `output`, the model."""

    output: Path

    @property
    def log(self) -> Path:
        """CSV, a row an epoch."""
        return self.output.with_suffix(".csv")

    @property
    def curve(self) -> Path:
        """The log as a picture."""
        return self.output.with_suffix(".png")

    @property
    def recipe(self) -> Path:
        """The recipe of the run, as JSON."""
        return self.output.with_suffix(".recipe.json")

    @property
    def backup(self) -> Path:
        """The folder that a resumed run continues from; removed when a run is complete."""
        return self.output.with_suffix(".backup")

    @property
    def finished_epochs(self) -> int:
        """Epochs in the backup."""
        metadata = self.backup / "training_metadata.json"
        return json.loads(metadata.read_text())["epoch"] if metadata.exists() else 0

    def check(self, *, start: Path | None, resume: bool, force: bool) -> None:
        """Raises what `train` raises for files that it must not write or cannot read.

        Writes nothing, and reads no weights of `start`.
        """
        require_suffix(self.output, ".keras")
        if start is not None:
            require_keras(start)
            refuse_source(self.output, start)
        refuse_overwrite(self.output, force=force or resume)
        if resume:
            if not self.recipe.exists() or not any(self.backup.glob("*")):
                raise UsageError(
                    f"There is no run to resume beside {self.output}; drop --resume to start one."
                )
            return
        if force:
            return
        epochs = self.finished_epochs
        if epochs:
            raise OverwriteError(
                f"{self.backup} has a run of {counted(epochs, 'epoch')}; add --resume to continue "
                "it or --force to discard it, or choose another name."
            )
        unclaimed = [str(file) for file in (self.log, self.curve) if file.exists()]
        if unclaimed and not self.recipe.exists():
            raise OverwriteError(
                f"{' and '.join(unclaimed)} would be replaced and was not made by {TOOL}; choose "
                "another name or add --force."
            )

    def begin(self, recipe: Recipe) -> None:
        """Deletes the files of an earlier run and writes the recipe of this one."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        for old in (self.log, self.curve, *self.backup.glob("*")):
            old.unlink(missing_ok=True)
        described = json.dumps(dataclasses.asdict(recipe), indent=2) + "\n"
        with atomic_write(self.recipe, force=True) as temporary:
            temporary.write_text(described)

    def recorded(self) -> Recipe:
        """The recipe of the recorded run; RejectedInputError where it is damaged."""
        try:
            values: Any = strict_json.parse(self.recipe.read_text(encoding="utf-8"))
            blanks = values["blanks"]
            return Recipe(**{**values, "blanks": blanks if blanks is None else tuple(blanks)})
        except (OSError, TypeError, ValueError, KeyError, UsageError) as error:
            raise RejectedInputError(f"{self.recipe}: not a recipe: {reason_of(error)}.") from error

    def refuse_changes(self, wanted: Recipe) -> None:
        """UsageError naming every field in which `wanted` is not the recorded recipe."""
        changes = list(_changes(self.recorded(), wanted))
        if changes:
            raise UsageError(
                f"{self.recipe} is the recipe of another run; drop these options, or start a new "
                f"run with another name: {'; '.join(changes)}."
            )


def _changes(recorded: Recipe, wanted: Recipe) -> Iterator[str]:
    for field in dataclasses.fields(Recipe):
        old, new = getattr(recorded, field.name), getattr(wanted, field.name)
        if old != new:
            yield f"{field.name} is {old} in the run, got {new}"
