"""Callbacks of a training run: validation, saving, the log, the learning curve."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from trm_export.errors import DivergedError, reason_of
from trm_export.files import atomic_write
from trm_export.model import TRM
from trm_export.tasks import PuzzleSet
from trm_export.training.run_log import VALIDATED, logged
from trm_export.training.stopping import StopRequest
from trm_export.training.trainer import ACTTrainer
from trm_export.training.validation import HaltingPoint, compiled_step, trace, tune_threshold


class Validate(keras.callbacks.Callback):
    """Every so many epochs: runs the validation puzzles and saves the model if it is the best.

    Adds the entries of `VALIDATED` to the epoch's logs. Expects the averaged weights in the model
    (`keras.callbacks.SwapEMAWeights`). Gives up where a stop is asked for.
    ``best`` is the share answered right that a model must reach to be saved; ``log`` receives it.
    """

    def __init__(
        self,
        model: TRM,
        puzzles: PuzzleSet,
        every: int,
        epochs: int,
        save: Callable[[HaltingPoint], None],
        best: float = -1.0,
        log: Log | None = None,
        request: StopRequest | None = None,
    ) -> None:
        super().__init__()
        self.log, self.request = log, request or StopRequest()
        self.point: HaltingPoint | None = None  # of the latest validation
        self.validated = -1  # its epoch
        self.trm, self.puzzles, self.every, self.epochs = model, puzzles, every, epochs
        self.save, self.best = save, best
        self.step = self._heeding(compiled_step(model))
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
        logs |= as_logged(self.validated_and_saved())
        self.validated = epoch
        if self.log is not None:
            self.log.amend(logs)

    def validated_and_saved(self) -> HaltingPoint:
        """Measures the model as it is, and saves it where it is as good as the best."""
        self.point = self.measure()
        if self.point.exact >= self.best:
            self.best = self.point.exact
            self.save(self.point)
        return self.point

    def _heeding(self, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def checked(carry: Any, batch: Any) -> Any:
            self.request.check()
            return step(carry, batch)

        return checked

    def measure(self) -> HaltingPoint:
        """The tuned halting point of the model's current weights."""
        began = time.monotonic()
        rows = min(64, len(self.puzzles))
        point = tune_threshold(trace(self.trm, self.puzzles, batch_size=rows, step=self.step))
        self.seconds = max(self.seconds, time.monotonic() - began)
        return point


def as_logged(point: HaltingPoint) -> dict[str, float]:
    """The entries of `VALIDATED`."""
    values = (point.exact, point.exact_all_steps, point.mean_steps, point.threshold)
    return dict(zip(VALIDATED, values, strict=True))


class Finite(keras.callbacks.Callback):
    """Ends a training that has diverged, before anything of its epoch is written."""

    def __init__(self, trainer: ACTTrainer, learning_rate: float) -> None:
        super().__init__()
        self.trainer, self.learning_rate = trainer, learning_rate

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Raises DivergedError if the mean loss of the epoch, or a weight, is NaN or infinite."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise DivergedError(epoch + 1, loss, self.learning_rate)
        if not self.trainer.is_finite():
            raise DivergedError(epoch + 1, None, self.learning_rate)


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
    """A CSV file with a row for every epoch; a missing value is an empty cell.

    The file is written anew every time, so that it is whole whenever the process is killed. Of one
    that is there only the rows of the first `finished` epochs are kept: those of this run.
    `last` is the row of the latest epoch of this process.
    """

    def __init__(self, path: Path, finished: int = 0) -> None:
        super().__init__()
        self.path = path
        self.last: dict[str, float] = {}
        found = logged(path) if finished else []
        self.rows = [row for row in found if int(row["epoch"]) < finished]
        if finished:
            self._write()

    @property
    def has_validation(self) -> bool:
        """Whether an epoch of this run was validated."""
        return self.point is not None

    @property
    def point(self) -> HaltingPoint | None:
        """The latest validation of this run; the log does not have its steps of solved puzzles."""
        rows = [row for row in self.rows if all(row.get(name) for name in VALIDATED)]
        if not rows:
            return None
        exact, all_steps, steps, threshold = (float(rows[-1][name]) for name in VALIDATED)
        return HaltingPoint(threshold, exact, all_steps, steps, math.nan)

    @property
    def written(self) -> Path | None:
        """The file, if it is of this run."""
        return self.path if self.rows else None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the row of the epoch."""
        self.rows.append({"epoch": str(epoch)})
        self.last = {}
        self.amend(logs or {})

    def has(self, epoch: int) -> bool:
        """Whether the last row is of this epoch."""
        return bool(self.rows) and int(self.rows[-1]["epoch"]) == epoch

    def amend(self, logs: dict[str, Any]) -> None:
        """Adds to the row of the epoch, or replaces, what has a value."""
        values = {name: float(value) for name, value in logs.items()}
        known = {name: value for name, value in values.items() if value == value}
        self.last |= known
        self.rows[-1] |= {name: str(values[name]) if name in known else "" for name in values}
        self._write()

    def _write(self) -> None:
        names = {name for row in self.rows for name in row} | {*VALIDATED}
        with (
            atomic_write(self.path, force=True) as new,
            new.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, ["epoch", *sorted(names - {"epoch"})], restval="")
            writer.writeheader()
            writer.writerows(self.rows)


class LearningCurve(keras.callbacks.Callback):
    """Draws the CSV log as a PNG after every epoch that was validated."""

    def __init__(self, log: Path, picture: Path) -> None:
        super().__init__()
        self.log, self.picture = log, picture

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Redraws the curve after a validation."""
        if VALIDATED[0] in (logs or {}):
            draw_curve(self.log, self.picture)


def undrawn() -> str | None:
    """Why no curve is drawn, and what to install; training needs the library for nothing else."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError:
        return (
            "No learning curve was drawn, because Matplotlib is not installed; install it with "
            "`pip install matplotlib`."
        )
    except Exception as error:  # of a library that it loads
        return (
            "No learning curve was drawn, because Matplotlib cannot be imported: "
            f"{reason_of(error)}; install it again."
        )
    return None


def draw_curve(log: Path, picture: Path) -> None:
    """Loss, accuracies and steps of a training log (CSV) as one PNG."""
    from matplotlib.figure import Figure

    rows = logged(log)
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
