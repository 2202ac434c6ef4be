"""A run beside the files of an earlier one: neither is taken for the other."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training.shallow import RECIPE, SHALLOW
from trm_export import TRM
from trm_export.checkpoints.loading import load_model
from trm_export.errors import DivergedError, OverwriteError, RejectedInputError, TargetError
from trm_export.model.presets import PRESETS
from trm_export.training.backup import Backup
from trm_export.training.callbacks import Finite, Log
from trm_export.training.recipe import Recipe, recipe_for
from trm_export.training.run import TrainResult, train
from trm_export.training.run_files import RunFiles
from trm_export.training.run_log import VALIDATED
from trm_export.training.run_state import SLOTS, RunState
from trm_export.training.stopping import StopRequest
from trm_export.training.trainer import ACTTrainer
from trm_runtime.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def shallow_and_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the depth of the model nor the curve, which takes 0.3 s an epoch, matters here."""
    monkeypatch.setitem(PRESETS, RECIPE, SHALLOW)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "model.keras")


def small(**changes: Any) -> Recipe:
    usual = {"steps": 8, "steps_per_epoch": 4, "batch_size": 4, "validation_count": 4}
    return recipe_for(RECIPE, validate_every=1, **{**usual, **changes})


def stopped(recipe: Recipe, files: RunFiles, step: int, **options: Any) -> TrainResult:
    """A run that is asked to stop after this step of all, which takes it to the next."""
    request, told = StopRequest(), []

    def progress(done: float, note: str) -> None:
        told.extend([note] if 0 < done < 1 else [])
        if len(told) == step:
            request.ask()

    result = train(
        recipe, files.output, jit_compile=False, stop=request, progress=progress, **options
    )
    assert result.interrupted
    return result


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("halfway")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, RECIPE, SHALLOW)
        patch.setitem(sys.modules, "matplotlib", None)
        stopped(small(), RunFiles(folder / "model.keras"), 5)
    return folder


@pytest.fixture
def begun(halfway: Path, tmp_path: Path) -> RunFiles:
    """A copy of it."""
    return RunFiles(Path(shutil.copytree(halfway, tmp_path / "begun")) / "model.keras")


def resumed(recipe: Recipe, files: RunFiles) -> TrainResult:
    return train(recipe, files.output, jit_compile=False, resume=True)


def rows(files: RunFiles) -> list[dict[str, str]]:
    with files.log.open(newline="") as file:
        return list(csv.DictReader(file))


def described(recipe: Recipe) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return values


def write_state(files: RunFiles, recipe: dict[str, Any], epoch: int = 1) -> None:
    RunState(epoch, 0, recipe, ["x []"], [np.zeros(())], SLOTS[0]).write(files.backup)


def test_the_score_of_an_earlier_run_is_not_that_of_a_new_one(files: RunFiles) -> None:
    train(small(steps=4), files.output, jit_compile=False)
    lines = [",".join(("epoch", *VALIDATED)), "0,0.999,1.0,2.0,0.5", "1,0.999,1.0,2.0,0.5"]
    files.log.write_text("\n".join(lines) + "\n")
    first = files.output.read_bytes()
    stopped(small(seed=7), files, 1)
    assert files.output.read_bytes() == first
    assert files.recorded() == small(seed=7)
    assert not files.log.exists()
    assert resumed(small(seed=7), files).epochs == 2
    assert files.output.read_bytes() != first
    assert [row["epoch"] for row in rows(files)] == ["0", "1"]


def test_force_forgets_the_scores_of_the_run_that_it_discards(begun: RunFiles) -> None:
    files = begun
    files.note_score(files.output, 0.999)
    first = files.output.read_bytes()
    stopped(small(seed=9), files, 1, force=True)
    assert files.score() is None
    resumed(small(seed=9), files)
    assert files.output.read_bytes() != first
    assert not files.backup.exists()


def test_a_stop_at_the_last_step_of_an_epoch_keeps_its_row(files: RunFiles) -> None:
    assert stopped(small(), files, 3).epochs == 1
    assert [row["epoch"] for row in rows(files)] == ["0"]
    again = stopped(small(), files, 3, resume=True)
    assert again.epochs == 2
    resumed(small(), files)
    assert [row["epoch"] for row in rows(files)] == ["0", "1"]
    assert all(rows(files)[1][name] for name in VALIDATED)
    assert not files.backup.exists()
    load_model(files.output)


def test_a_recipe_that_was_changed_does_not_begin_again(files: RunFiles) -> None:
    files.begin(small())
    write_state(files, described(small()))
    files.check(start=None, resume=True, force=False)
    files.recipe.write_text(json.dumps(described(small(steps=60))))
    changed = r"is not the recipe of the backup beside it: steps is 8 in it, got 60; put the values"
    with pytest.raises(RejectedInputError, match=changed):
        files.check(start=None, resume=True, force=False)
    with pytest.raises(RejectedInputError, match=changed):
        resumed(small(steps=60), files)
    assert (files.backup / SLOTS[0]).exists()


def test_a_backup_of_an_earlier_version_lacks_what_has_its_default(files: RunFiles) -> None:
    files.begin(small())
    values = described(small())
    for name in ("hard_fraction", "ramp"):
        del values[name]
    write_state(files, values)
    assert files.state() is not None


def contents(files: RunFiles) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in files.output.parent.rglob("*") if p.is_file()}


def test_a_run_that_ends_before_its_first_backup_leaves_those_of_others(
    begun: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = begun
    files.note_score(files.output, 0.999)
    before = contents(files)

    def full(state: RunState, folder: Path) -> None:
        raise TargetError(f"{folder} cannot be written: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "write", full)
        with pytest.raises(TargetError, match="No space left"):
            train(small(seed=3), files.output, jit_compile=False, force=True)
        assert contents(files) == before
        patch.setattr(ACTTrainer, "fit", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(small(seed=3), files.output, force=True)
    assert contents(files) == before
    resumed(small(), files)
    assert files.output.read_bytes() == before[str(files.output)]  # which was better


def test_a_second_ctrl_c_before_the_first_backup_leaves_nothing(files: RunFiles) -> None:
    def interrupt(done: float, note: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small(), files.output, jit_compile=False, progress=interrupt)
    assert list(files.output.parent.iterdir()) == []


def test_a_run_without_its_log_is_resumed(begun: RunFiles) -> None:
    files = begun
    files.log.unlink()
    resumed(small(), files)
    assert [row["epoch"] for row in rows(files)] == ["1"]
    log = Log(files.log, 2)
    assert log.has(1)
    assert not log.has(0)
    assert not Log(files.log).has(1)


def test_a_backup_stays_until_there_is_a_model(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("trm_export.training.run._save", lambda *_: None)
        train(small(), files.output, jit_compile=False)
    assert not files.output.exists()
    resumed(small(), files)
    load_model(files.output)
    assert not files.backup.exists()


def test_what_is_no_file_of_a_run_is_asked_about(files: RunFiles) -> None:
    files.recipe.write_text('{"ingredients": ["flour"]}')
    files.log.write_text("my,measurements\n1,2\n")
    files.curve.write_bytes(b"my picture")
    names = r"model\.csv and .*model\.png and .*model\.recipe\.json would be replaced"
    with pytest.raises(OverwriteError, match=names):
        files.check(start=None, resume=False, force=False)
    files.check(start=None, resume=False, force=True)
    files.begin(small())
    assert not files.log.exists()
    files.log.write_text("my,measurements\n1,2\n")
    with pytest.raises(OverwriteError, match=r"model\.csv would be replaced"):
        files.check(start=None, resume=False, force=False)
    files.log.write_bytes(b"gr\xfc\xdfe")
    with pytest.raises(OverwriteError, match=r"model\.csv would be replaced"):
        files.check(start=None, resume=False, force=False)
    assert Log(files.log).rows == []
    files.log.unlink()
    files.check(start=None, resume=False, force=False)
    files.log.mkdir()
    with pytest.raises(TargetError, match="is a directory"):
        files.check(start=None, resume=False, force=True)


def test_one_run_at_a_time(files: RunFiles) -> None:
    with files.alone():
        with pytest.raises(UsageError, match=r"model\.keras is being trained by another process"):
            train(small(), files.output)
        assert files.backup.is_dir()
    assert list(files.output.parent.iterdir()) == []
    with pytest.raises(ZeroDivisionError), files.alone():
        _ = 1 / 0
    assert list(files.output.parent.iterdir()) == []


def test_weights_that_are_not_finite_are_not_kept(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TRM(6, 16, 2, 1.0, 9, family="paper", puzzle_emb_len=1)
    trainer = ACTTrainer(model, 4)
    finite = Finite(trainer, 0.5)
    finite.on_epoch_end(0, {"loss": 1.0})
    weight = model.trainable_variables[-1]
    weight.assign(keras.ops.full(weight.shape, np.nan))
    said = "a weight is not finite in epoch 1, and nothing of that epoch is kept; .* below 0.5"
    with pytest.raises(DivergedError, match=said):
        finite.on_epoch_end(0, {"loss": 1.0})
    backup = Backup(trainer, files, small(), StopRequest(), None)
    backup.step = 1
    with pytest.raises(DivergedError, match="a weight is not finite in epoch 1"):
        backup.save()
    assert not files.backup.exists()
