"""The curriculum: training begins with one ACT step, then one more at a time, then all.

With few ACT steps almost every optimizer step has new rows, and the goals of the first steps never
change. Knows nothing about any task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from trm_export.training.trainer import ACTTrainer


class Curriculum(keras.callbacks.Callback):
    """Allows one more ACT step after every epoch whose halted rows were exact to ``mastery``.

    ``lesson`` is the number of ACT steps, from 1; None after the last lesson, when ``act_steps``
    holds, 0 for the model's own. Adds the lesson of the next epoch to the logs (0 for None), from
    whose ``rows`` a resumed run reads it. Without a mastery, or lessons, it is None from the start.
    """

    def __init__(
        self, lessons: int, mastery: float, act_steps: int, trainer: ACTTrainer,
        rows: Sequence[Mapping[str, str]] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.lessons, self.mastery, self.trainer = lessons, mastery, trainer
        self.act_steps = min(act_steps or trainer.trm.halt_max_steps, trainer.trm.halt_max_steps)
        self.lesson = _logged(rows) if mastery and lessons else None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets the ACT steps of a new or resumed run."""
        self._limit()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves to the next lesson if the epoch was good enough."""
        if logs is None or not (self.mastery and self.lessons):
            return
        if self.lesson is not None and logs["exact"] >= self.mastery:
            self.lesson = self.lesson + 1 if self.lesson < self.lessons else None
            self._limit()
        logs["lesson"] = self.lesson or 0

    def _limit(self) -> None:
        self.trainer.limit.assign(min(self.lesson or self.act_steps, self.act_steps))


class Ramp(keras.callbacks.Callback):
    """Allows ``first`` ACT steps at first and evenly more with the epochs, all at ``epochs``."""

    def __init__(self, first: int, epochs: float, trainer: ACTTrainer) -> None:
        super().__init__()
        all_steps = trainer.trm.halt_max_steps
        self.first, self.epochs, self.trainer = first or all_steps, epochs, trainer

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the ACT steps of the epoch."""
        all_steps = self.trainer.trm.halt_max_steps
        grown = (all_steps - self.first) * min(epoch / self.epochs, 1.0)
        self.trainer.limit.assign(min(self.first + int(grown), all_steps))


def _logged(rows: Sequence[Mapping[str, str]]) -> int | None:
    """The lesson in the last row of a log that has one; the first lesson without one."""
    lessons = [row["lesson"] for row in rows if row.get("lesson")]
    return (round(float(lessons[-1])) or None) if lessons else 1
