"""Callbacks of a training run: validation, saving, the log, the learning curve."""

from __future__ import annotations

import csv
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from trm_export.files import atomic_write
from trm_export.model import TRM
from trm_export.tasks import PuzzleSet
from trm_export.training.validation import HaltingPoint, compiled_step, trace, tune_threshold

VALIDATED = ("val_exact", "val_exact_all_steps", "val_steps", "val_threshold")


class Validate(keras.callbacks.Callback):
    """Every so many epochs: runs the validation puzzles and saves the model if it is the best.

    Adds the entries of `VALIDATED` to the epoch's logs. Expects the averaged weights in the model
    (`keras.callbacks.SwapEMAWeights`).
    ``best`` is the share answered right that a model must reach to be saved.
    """

    def __init__(
        self,
        model: TRM,
        puzzles: PuzzleSet,
        every: int,
        epochs: int,
        save: Callable[[HaltingPoint], None],
        best: float = -1.0,
    ) -> None:
        super().__init__()
        self.trm, self.puzzles, self.every, self.epochs = model, puzzles, every, epochs
        self.save, self.best = save, best
        self.step = compiled_step(model)
        self.seconds = 0.0  # of the longest validation
        self.averaged = False  # whether the averages are in the model

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes that the weights are in the model."""
        self.averaged = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validates when it is the epoch's turn; the last epoch always is."""
        self.averaged, logs = True, {} if logs is None else logs
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        point = self.measure()
        values = (point.exact, point.exact_all_steps, point.mean_steps, point.threshold)
        logs.update(zip(VALIDATED, values, strict=True))
        if point.exact >= self.best:
            self.best = point.exact
            self.save(point)

    def measure(self) -> HaltingPoint:
        """The tuned halting point of the model's current weights."""
        began = time.monotonic()
        rows = min(64, len(self.puzzles))
        point = tune_threshold(trace(self.trm, self.puzzles, batch_size=rows, step=self.step))
        self.seconds = max(self.seconds, time.monotonic() - began)
        return point


class Clock(keras.callbacks.Callback):
    """Adds the wall-clock ``minutes`` since training began to each epoch's logs."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the time."""
        if logs is not None:
            logs["minutes"] = (time.monotonic() - self.start) / 60


class Log(keras.callbacks.Callback):
    """Appends a row to a CSV file every epoch; a missing value is an empty cell.

    `last` is the row of the latest epoch of this process.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.last: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the row, and the names of the columns before the first one."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.last = {name: value for name, value in values.items() if value == value}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", *sorted({*values, *VALIDATED})], restval="")
            if new:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **self.last})


def best_logged(log: Path) -> float:
    """The best validation of a log (CSV), -1 where there is none."""
    if not log.exists():
        return -1.0
    with log.open(newline="") as file:
        values = [row.get(VALIDATED[0]) for row in csv.DictReader(file)]
    return max((float(value) for value in values if value), default=-1.0)


class LearningCurve(keras.callbacks.Callback):
    """Draws the CSV log as a PNG after every epoch that was validated."""

    def __init__(self, log: Path, picture: Path) -> None:
        super().__init__()
        self.log, self.picture = log, picture

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Redraws the curve after a validation."""
        if VALIDATED[0] in (logs or {}):
            draw_curve(self.log, self.picture)


def can_draw() -> bool:
    """Whether there is the library that draws curves; training needs it for nothing else."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curve(log: Path, picture: Path) -> None:
    """Loss, accuracies and steps of a training log (CSV) as one PNG."""
    from matplotlib.figure import Figure

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    panels = (
        ("loss", {"ce": "answer loss", "q_loss": "halting loss"}),
        ("exact", {"exact": "training, at halt", "val_exact": "validation, tuned halt",
                   "val_exact_all_steps": "validation, all steps"}),
        ("steps at halt", {"steps": "training", "val_steps": "validation"}),
    )  # fmt: skip
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for column, label in lines.items():
            points = [(int(r["epoch"]) + 1, float(r[column])) for r in rows if r.get(column)]
            marker = "o" if column.startswith("val_") else None
            axis.plot(*zip(*points, strict=True) if points else ([], []), marker=marker,
                      markersize=3, label=label)  # fmt: skip
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[1].set_ylim(0, 1.02)
    axes[2].set_xlabel("epoch")
    with atomic_write(picture, force=True) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
