"""Back up a run after every epoch, and at the step at which it is asked to stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from trm_export.errors import DivergedError, RejectedInputError
from trm_export.training.recipe import Recipe
from trm_export.training.run_files import RunFiles, as_json
from trm_export.training.run_state import SLOTS, RunState
from trm_export.training.stopping import StopRequest
from trm_export.training.trainer import ACTTrainer

Array = np.ndarray[Any, Any]


class Backup(keras.callbacks.Callback):
    """Writes what a run needs to go on: weights, optimizer, metrics of the epoch and its step.

    The carry is not kept: a resumed run begins with new puzzles. Expects to be called before the
    weights are swapped for their averages.
    """

    def __init__(
        self, trainer: ACTTrainer, files: RunFiles, recipe: Recipe, request: StopRequest,
        state: RunState | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.trainer, self.files, self.request = trainer, files, request
        self.recipe = recipe
        self.steps, self.epochs, self.state = recipe.epoch_steps, recipe.epochs, state
        self.epoch, self.step = (0, 0) if state is None else (state.epoch, state.step)
        self._next = 0 if state is None else 1 - SLOTS.index(state.slot)
        self._fresh = state is None
        if state is not None:
            self._tell_what_is_kept()

    def parts(self) -> Iterator[tuple[int, int, int]]:
        """Calls of `fit` that are due: first epoch, epoch after the last, steps done of the first.

        Restores the state before each. A run that stopped in the middle of an epoch needs two.
        """
        if self.step:
            self._restore()
            yield self.epoch, self.epoch + 1, self.step
        if self.epoch < self.epochs:
            self._restore()
            yield self.epoch, self.epochs, 0
        elif self.state is not None:
            self._restore()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Puts the metrics of the steps that are done back, which Keras has reset.

        Raises StopAskedError if a stop was requested at the last step of the epoch before.
        """
        self.request.check()
        if self.step and self.state is not None:
            self._assign(self.trainer.metrics_variables, self._split(self.state)[1])

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step; backs up and raises StopAskedError if a stop was requested."""
        self.step += 1
        self.request.useful = True
        if self.request.is_asked and self.step < self.steps:
            self.save()
            self.request.check()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Backs up, with the next epoch as the one to go on with."""
        self.epoch, self.step = epoch + 1, 0
        self.save()

    def save(self) -> None:
        """Writes the state in the place of the one before the last.

        Raises DivergedError for weights in the middle of an epoch that are NaN or infinite; at its
        end `Finite` does.
        """
        if self.step and not self.trainer.is_finite():
            raise DivergedError(self.epoch + 1, None, self.recipe.learning_rate)
        self.trainer.sync()
        variables = [*self._lasting(), *self.trainer.metrics_variables]
        arrays = [_stored(variable) for variable in variables]
        names, slot = _names(variables), SLOTS[self._next]
        described = as_json(self.recipe)
        self.state = RunState(self.epoch, self.step, described, names, arrays, slot)
        self.state.write(self.files.backup)
        self._next = 1 - self._next
        if self._fresh:  # what is there is of another run, and now there is something in its place
            self.files.begin(self.recipe)
            (self.files.backup / SLOTS[self._next]).unlink(missing_ok=True)
        self._fresh = False
        self._tell_what_is_kept()

    def metrics(self) -> dict[str, float]:
        """Those of the steps before the state that the run goes on with; resets nothing."""
        if self.state is None:
            return {}
        self._restore()
        self._assign(self.trainer.metrics_variables, self._split(self.state)[1])
        found = self.trainer.get_metrics_result()
        return {name: float(value) for name, value in found.items()}

    def _tell_what_is_kept(self) -> None:
        place = f"epoch {self.epoch}" + (f" and step {self.step}" if self.step else "")
        self.request.kept = f"The backup after {place} is kept; --resume goes on from there."

    def _lasting(self) -> list[Any]:
        return [*self.trainer.trm.variables, *self.trainer.optimizer.variables]

    def _restore(self) -> None:
        optimizer = self.trainer.optimizer
        if not optimizer.built:
            optimizer.build(self.trainer.trainable_variables)
        if self.state is not None:
            self._assign(self._lasting(), self._split(self.state)[0])

    def _split(self, state: RunState) -> tuple[list[Array], list[Array]]:
        """The values of lasting variables and of metrics."""
        count = len(self._lasting())
        if state.names[:count] != _names(self._lasting()) or state.step >= self.steps:
            raise self._foreign()
        return state.arrays[:count], state.arrays[count:]

    def _foreign(self) -> RejectedInputError:
        return RejectedInputError(
            f"{self.files.backup}: the backup is not of this model, or of another version of it; "
            "start a new run with --force."
        )

    def _assign(self, variables: list[Any], arrays: list[Array]) -> None:
        for variable, array in zip(variables, arrays, strict=False):
            found = keras.ops.convert_to_numpy(variable)
            if (array.shape, array.itemsize) != (found.shape, found.dtype.itemsize):
                raise self._foreign()
            variable.assign(array if array.dtype == found.dtype else array.view(found.dtype))


def _names(variables: list[Any]) -> list[str]:
    return [f"{variable.name} {list(variable.shape)}" for variable in variables]


def _stored(variable: Any) -> Array:
    """The value in a type that numpy writes; bfloat16 as the integers of its bits."""
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    return array if array.dtype.kind in "biuf" else array.view(f"u{array.itemsize}")
