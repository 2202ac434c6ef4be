"""The files of one training run, named after its model, and when they may be overwritten.

A new run touches no file of an earlier one before its first backup is written. Imports no
framework, so that a command can check its options before it loads one.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trm_export.checkpoints.keras_file import require_keras
from trm_export.errors import (
    BackupWarning,
    OverwriteError,
    RejectedInputError,
    UsageError,
    reason_of,
)
from trm_export.files import (
    atomic_write,
    explained,
    refuse_overwrite,
    refuse_source,
    require_suffix,
    sha256_file,
)
from trm_export.lock_file import locked, unlock
from trm_export.training.recipe import Recipe
from trm_export.training.run_log import logged
from trm_export.training.run_state import SLOTS, RunState, damaged_state, read_states, written
from trm_export.version import TOOL
from trm_runtime import strict_json
from trm_runtime.message_text import counted, shown
from trm_runtime.regular_file import read_regular


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
    def scores(self) -> Path:
        """The validated accuracy of the models that this run has written, by their SHA-256."""
        return self.backup / "scores.json"

    @property
    def finished_epochs(self) -> int:
        """Epochs in the backup."""
        return self._progress[0]

    def state(self) -> RunState:
        """The newest backup of the recorded recipe.

        Raises RejectedInputError where all are damaged, or of another recipe than that beside them,
        and UsageError where there is none.
        """
        recipe, present = as_json(self.recorded()), read_states(self.backup)
        states = [state for state in present if {**_DEFAULTS, **state.recipe} == recipe]
        if not present:
            raise self._nothing()
        if not states:
            changes = "; ".join(_different({**_DEFAULTS, **present[0].recipe}, recipe))
            raise RejectedInputError(
                f"{self.recipe} is not the recipe of the backup beside it: {changes}; put the "
                "values of the backup back, or start a new run with --force."
            )
        return max(states, key=lambda state: (state.epoch, state.step))

    def warn_of_damage(self, state: RunState) -> None:
        """BackupWarning where the other of the two backups is damaged: it may be the newer one."""
        damaged = damaged_state(self.backup)
        if damaged is not None:
            steps = f" and {counted(state.step, 'step')}" if state.step else ""
            warnings.warn(
                f"{damaged} is damaged; the run goes on from the other backup, after "
                f"{counted(state.epoch, 'epoch')}{steps}.",
                BackupWarning,
                stacklevel=3,
            )

    def note_score(self, model: Path, exact: float) -> None:
        """Notes the share answered right of a model file before it gets its name."""
        with atomic_write(self.scores, force=True) as new:
            new.write_text(json.dumps({**self._scores(), sha256_file(model): exact}))

    def score(self) -> float | None:
        """The share answered right of the model that lies there; None if this run did not say."""
        return self._scores().get(sha256_file(self.output)) if self.output.is_file() else None

    def _scores(self) -> dict[str, float]:
        try:
            found: Any = strict_json.parse(read_regular(self.scores).decode())
            return {str(digest): float(exact) for digest, exact in found.items() if 0 <= exact <= 1}
        except (OSError, ValueError, TypeError, AttributeError, RejectedInputError):
            return {}

    def discard_backup(self) -> None:
        """Removes the backup of a run that is complete, and nothing else that lies there."""
        with suppress(OSError):
            for file in (*(self.backup / slot for slot in SLOTS), self.scores):
                file.unlink(missing_ok=True)
            self.backup.rmdir()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process trains this model meanwhile, where files can be locked.

        Raises UsageError where one does.
        """
        lock = self.backup / "lock"
        handle = locked(
            lock,
            f"{self.output} is being trained by another process; wait for its end, or choose "
            "another name.",
        )
        try:
            yield
        finally:
            if handle is not None:
                unlock(handle, lock)
            with suppress(OSError):
                self.backup.rmdir()

    def check(self, *, start: Path | None, resume: bool, force: bool) -> None:
        """Raises what `train` raises for files that it must not write or cannot read.

        Writes nothing, and reads no weights of `start`.
        """
        require_suffix(self.output, ".keras")
        if start is not None:
            require_keras(start)
            refuse_source(self.output, start)
        refuse_overwrite(self.output, force=force or resume)
        for file in (self.log, self.curve, self.recipe):
            refuse_overwrite(file, force=True)
        if resume:
            if not self.recipe.exists() and self._done:
                raise self._without_recipe()
            if self._is_lost():
                raise RejectedInputError(
                    f"{self.backup}: the backup of the run is missing, but {self.log} has "
                    f"{counted(self._logged, 'epoch')} of {self.recorded().epochs}; copy it again, "
                    "or start a new run with --force."
                )
            if not self.recipe.exists():
                raise self._nothing()
            self.state()
            return
        if force:
            return
        done = self._done
        if done and not self.recipe.exists():
            raise self._without_recipe()
        if done:
            raise OverwriteError(
                f"{self.backup} has a run of {done}; add --resume to continue it or --force to "
                "discard it, or choose another name."
            )
        unclaimed = [str(file) for file in self._foreign() if file.exists()]
        if unclaimed:
            raise OverwriteError(
                f"{' and '.join(unclaimed)} would be replaced and was not made by {TOOL}; choose "
                "another name or add --force."
            )

    def _foreign(self) -> Iterator[Path]:
        """The files that a run would replace and that none has made, by what is in them."""
        try:
            self.recorded()
        except RejectedInputError:
            yield from (self.log, self.curve, self.recipe)
            return
        with suppress(RejectedInputError):
            if logged(self.log):
                return
        yield self.log

    def _is_lost(self) -> bool:
        """Whether nothing is backed up of a run that has a log and is not complete."""
        if not self.recipe.exists() or written(self.backup):
            return False
        return 0 < self._logged < self.recorded().epochs

    @property
    def _logged(self) -> int:
        """The epochs in the log."""
        return max((int(row["epoch"]) + 1 for row in logged(self.log)), default=0)

    def _without_recipe(self) -> OverwriteError:
        return OverwriteError(
            f"{self.backup} has a run of {self._done} whose recipe, {self.recipe}, is missing; put "
            "it back to resume the run, or add --force, without --resume, to discard it."
        )

    @property
    def _progress(self) -> tuple[int, int]:
        """The epochs in the backup, and the steps of the one after them."""
        states = read_states(self.backup)
        return max(((state.epoch, state.step) for state in states), default=(0, 0))

    @property
    def _done(self) -> str:
        """How much of a run the backup has, in words; empty where it has nothing."""
        epochs, steps = self._progress
        return counted(epochs, "epoch") if epochs else counted(steps, "step") if steps else ""

    def _nothing(self) -> UsageError:
        """What to say where no run can be resumed."""
        start = "drop --resume to start one"
        if self.recipe.exists() and self.output.exists():
            start = (
                f"the one there is complete: --from {self.output} with another -o trains its model "
                "on, and without --resume a new run takes its place"
            )
        return UsageError(f"There is no run to resume beside {self.output}; {start}.")

    def begin(self, recipe: Recipe) -> None:
        """Takes the place of an earlier run: writes the recipe, and removes what is of that one.

        Its model stays until one of the new run is saved.
        """
        for file in (self.scores, self.log, self.curve):
            with explained(file):
                file.unlink(missing_ok=True)
        with atomic_write(self.recipe, force=True) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")

    def recorded(self) -> Recipe:
        """The recipe of the recorded run; RejectedInputError where it is damaged."""
        try:
            values: Any = strict_json.parse(read_regular(self.recipe).decode())
            if not isinstance(values, dict) or not {"task", "blanks"} <= set(values):
                raise ValueError("it names no task and no blanks")
            blanks = values["blanks"]
            return Recipe(**{**values, "blanks": blanks if blanks is None else tuple(blanks)})
        except (OSError, TypeError, ValueError, UsageError) as error:
            raise RejectedInputError(f"{self.recipe}: not a recipe: {reason_of(error)}.") from error

    def refuse_changes(self, wanted: Recipe) -> None:
        """UsageError naming every field in which `wanted` is not the recorded recipe."""
        changes = list(_different(as_json(self.recorded()), as_json(wanted), "the run"))
        if changes:
            raise UsageError(
                f"{self.recipe} is the recipe of another run; drop these options, or start a new "
                f"run with another name: {'; '.join(changes)}."
            )


_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Recipe)
    if field.default is not dataclasses.MISSING
}
"""Of the fields that a backup of an earlier version may lack."""


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Its fields in JSON types."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return values


def _different(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "it") -> Iterator[str]:
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            yield f"{name} is {shown(old.get(name))} in {where}, got {shown(new.get(name))}"
