"""What a training run reports while it runs: each epoch as one stage, in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras

from trm_export.training.run_log import VALIDATED

_LEAST = 0.5  # minutes left, below which they are not told
Progress = Callable[[float, str], object]  # the share of an epoch that is done, and the words


class Tell(keras.callbacks.Callback):
    """Tells how far an epoch is, and at its end, with the share 1, its result.

    Comes after the callbacks that validate. `epochs` is the number of all of them.
    """

    def __init__(self, progress: Progress, epochs: int) -> None:
        super().__init__()
        self.progress, self.epochs = progress, epochs
        self.first: int | None = None  # epoch of this process
        self.epoch, self.start = 0, time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The first step of a process compiles the model, which takes longest."""
        self.epoch = epoch
        if self.first is None:
            self.first = epoch
            self.progress(0.0, f"{self._title}: compiling the first step")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """The share that is done; after the last step the epoch may still be validated."""
        done = (batch + 1) / self.params["steps"]
        if done < 1:
            self.progress(done, f"{self._title}: {_figures(logs or {})}")
        else:
            self.progress(0.0, f"{self._title}: saving and validating")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The result of the epoch, and the time that is left."""
        logs = logs or {}
        text = f"{self._title}: {_figures(logs)}"
        if VALIDATED[0] in logs:
            exact, _, steps, _ = (logs[name] for name in VALIDATED)
            text += f"; validation {exact:.1%} in {steps:.1f} steps"
        self.progress(1.0, f"{text}; {self._left()}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Only files are left to write."""
        self.progress(0.0, "Writing the files")

    @property
    def _title(self) -> str:
        return f"Epoch {self.epoch + 1} of {self.epochs}"

    def _left(self) -> str:
        minutes = (time.monotonic() - self.start) / 60
        done = self.epoch + 1 - (self.first or 0)
        left = minutes / done * (self.epochs - self.epoch - 1)
        return f"{minutes:.1f} minutes" + (f", {left:.0f} left" if left >= _LEAST else "")


def _figures(logs: dict[str, Any]) -> str:
    """Of the puzzles that ended in this epoch."""
    if not logs.get("halted"):
        return f"loss {logs.get('loss', float('nan')):.3f}"
    return f"loss {logs['loss']:.3f}, {logs['exact']:.1%} exact in {logs['steps']:.1f} steps"
