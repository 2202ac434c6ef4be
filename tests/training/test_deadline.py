"""Runs that stop in time, go on, and are interrupted while they validate."""

from __future__ import annotations

import builtins
import csv
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training.shallow import RECIPE, SHALLOW
from trm_export.checkpoints.loading import load_model
from trm_export.model.presets import PRESETS
from trm_export.training import run as run_module
from trm_export.training.callbacks import Validate, undrawn
from trm_export.training.deadline import Deadline, TimeIsUpError
from trm_export.training.recipe import Recipe, recipe_for
from trm_export.training.run import train
from trm_export.training.run_files import RunFiles
from trm_export.training.run_log import best_logged, logged

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def shallow_and_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the depth of the model nor the curve, which takes 0.3 s an epoch, matters here."""
    monkeypatch.setitem(PRESETS, RECIPE, SHALLOW)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def small(**changes: Any) -> Recipe:
    usual = {"steps": 12, "steps_per_epoch": 4, "batch_size": 4, "validation_count": 4}
    return recipe_for(RECIPE, validate_every=1, **{**usual, **changes})


def epochs(output: Path) -> list[int]:
    with output.with_suffix(".csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


class LateFrom(Deadline):
    """The time is up from this step on, or only at the next beginning of an epoch."""

    step, within = 0, False

    def _too_late(self, seconds: float) -> bool:
        late = int(self.model.optimizer.iterations.value) >= self.step
        return late and (self.within or seconds > 0)


def test_a_run_stops_in_time_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "model.keras"
    monkeypatch.setattr(run_module, "Deadline", LateFrom)
    monkeypatch.setattr(LateFrom, "step", 6)
    monkeypatch.setattr(LateFrom, "within", True)
    stopped = train(small(), output, jit_compile=False, until=time.time() + 60)
    assert (stopped.epochs, stopped.interrupted) == (1, False)
    assert epochs(output) == [0]
    load_model(output)
    monkeypatch.setattr(LateFrom, "within", False)
    again = train(small(), output, jit_compile=False, until=time.time() + 60, resume=True)
    assert (again.epochs, epochs(output)) == (2, [0, 1])
    assert RunFiles(output).finished_epochs == 2
    done = train(small(), output, jit_compile=False, resume=True)
    assert (done.epochs, epochs(output)) == (3, [0, 1, 2])
    assert RunFiles(output).finished_epochs == 0


def test_an_epoch_is_begun_only_if_it_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        optimizer = keras.optimizers.SGD()

    Model.optimizer.iterations.assign(3)
    validate = Validate.__new__(Validate)
    validate.seconds = 10.0
    deadline = Deadline(1000.0, validate)
    deadline._model = Model()
    deadline.set_params({"steps": 3})
    clock = [100.0]
    monkeypatch.setattr("trm_export.training.deadline.time.time", lambda: clock[0])
    deadline.on_epoch_begin(0)
    clock[0] = 500.0
    deadline.on_epoch_end(0)
    clock[0] = 580.0
    deadline.on_epoch_begin(1)
    clock[0] = 600.0
    with pytest.raises(TimeIsUpError):
        deadline.on_epoch_begin(2)
    clock[0] = 989.0
    deadline.on_train_batch_end(0)
    clock[0] = 991.0
    with pytest.raises(TimeIsUpError):
        deadline.on_train_batch_end(1)
    deadline.on_train_batch_end(2)  # the epoch is done


def test_ctrl_c_in_a_validation_saves_the_averages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, seen = Validate.measure, []

    def interrupted(self: Validate) -> Any:
        seen.append([weight.copy() for weight in self.trm.get_weights()])
        if len(seen) == 1:
            raise KeyboardInterrupt
        return measure(self)

    monkeypatch.setattr(Validate, "measure", interrupted)
    output = tmp_path / "model.keras"
    result = train(small(), output, jit_compile=False)
    assert result.interrupted
    averages, saved = seen[0], load_model(output).get_weights()
    assert len(averages) == len(saved)
    for found, wanted in zip(saved, averages, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_resumed_run_replaces_only_what_it_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "model.keras"
    monkeypatch.setattr(run_module, "Deadline", LateFrom)
    monkeypatch.setattr(LateFrom, "step", 4)
    train(small(), output, jit_compile=False, until=time.time() + 60)
    log = output.with_suffix(".csv")
    lines = log.read_text().splitlines()
    column = lines[0].split(",").index("val_exact")
    cells = lines[1].split(",")
    cells[column] = "0.999"
    log.write_text("\n".join([lines[0], ",".join(cells)]) + "\n")
    assert best_logged(logged(log)) == 0.999
    better = tmp_path / "better.keras"
    shutil.copytree(RunFiles(output).backup, RunFiles(better).backup)
    for mine in (RunFiles(output).recipe, log):
        shutil.copy(mine, better.with_suffix(mine.name.removeprefix("model")))
    better.write_bytes(b"of the best epoch")
    train(small(), better, jit_compile=False, resume=True)
    assert better.read_bytes() == b"of the best epoch"
    output.unlink()  # a copy of the run without its model
    train(small(), output, jit_compile=False, resume=True)
    load_model(output)


def test_a_backup_is_as_small_at_any_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "Deadline", LateFrom)
    monkeypatch.setattr(LateFrom, "step", 4)
    sizes = []
    for rows in (4, 64):
        files = RunFiles(tmp_path / f"{rows}.keras")
        train(small(batch_size=rows), files.output, jit_compile=False, until=time.time() + 60)
        sizes.append(max(file.stat().st_size for file in files.backup.glob("*.npz")))
    assert abs(sizes[0] - sizes[1]) < 5000


NO_CURVE = (
    "No learning curve was drawn, because Matplotlib is not installed; install it with "
    "`pip install matplotlib`."
)


def test_without_matplotlib_no_curve_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "model.png").write_bytes(b"of an earlier run")
    result = train(small(steps=4), tmp_path / "model.keras", jit_compile=False, force=True)
    assert result.curve is None
    assert result.no_curve == NO_CURVE
    assert ("curve", NO_CURVE) in result.tables()[0].rows
    assert tmp_path / "model.png" not in result.files
    assert result.log is not None


def test_a_broken_matplotlib_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("libfoo.so: cannot open shared object file")
        return real(name, *rest)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", broken)
    assert undrawn() == (
        "No learning curve was drawn, because Matplotlib cannot be imported: libfoo.so: cannot "
        "open shared object file; install it again."
    )
