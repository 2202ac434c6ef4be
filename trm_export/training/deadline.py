"""Stops a training run in time. `parse_time` in `until.py` reads the time."""

from __future__ import annotations

import time
from typing import Any

import keras

from trm_export.training.callbacks import Validate


class TimeIsUpError(Exception):
    """Raised in `fit` by `Deadline`."""


class Deadline(keras.callbacks.Callback):
    """Raises `TimeIsUpError` so that a last validation ends before ``until``.

    ``until`` is a time as `time.time` gives it. An epoch that would not end in time is not begun;
    one that takes longer than expected is given up. Expects to be called after the weights and
    their averages were swapped.
    """

    def __init__(self, until: float, validate: Validate) -> None:
        super().__init__()
        self.until, self.validate = until, validate
        self.began, self.longest = time.time(), 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Learns how long a validation takes."""
        if not self.validate.seconds:
            self.validate.measure()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins the epoch only if there is time for it."""
        self.began = time.time()
        if self._too_late(self.longest) and int(self.model.optimizer.iterations.value):
            raise TimeIsUpError

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Gives the epoch up when the time is up, unless this was its last step."""
        if batch + 1 < self.params["steps"] and self._too_late(0.0):
            raise TimeIsUpError

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes how long the epoch took, its validation included."""
        self.longest = max(self.longest, time.time() - self.began)

    def _too_late(self, seconds: float) -> bool:
        return time.time() + seconds + self.validate.seconds > self.until
