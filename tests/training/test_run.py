"""Whole training runs in processes of their own: killed, resumed, interrupted."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training import shallow
from trm_export.checked_arrays import read_arrays, write_arrays
from trm_export.checkpoints.loading import load_model
from trm_export.errors import BackupWarning, DivergedError, OverwriteError, RejectedInputError
from trm_export.model import TRM
from trm_export.model.presets import PRESETS, preset
from trm_export.step.saved_weights import weights_sha256
from trm_export.tasks import get_task
from trm_export.training.callbacks import LearningCurve, Log
from trm_export.training.recipe import RECIPES, Recipe, recipe_for, with_changes
from trm_export.training.run import train
from trm_export.training.run_files import RunFiles
from trm_export.training.run_log import VALIDATED, best_logged, logged
from trm_export.training.run_state import SLOTS, RunState
from trm_runtime.errors import TRMError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).parents[2]
EPOCH = 12  # steps, as in run_worker.py


def worker(
    output: Path, mode: str, number: int = 0, step: int = 30
) -> subprocess.CompletedProcess[str]:
    script = str(Path(__file__).with_name("run_worker.py"))
    paths = [str(ROOT), str(ROOT / "runtimes"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, script, str(output), mode, str(number), str(step)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def arrays(path: Path) -> list[Any]:
    return list(np.load(path).values())


def epochs(output: Path) -> list[int]:
    with output.with_suffix(".csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    output = tmp_path / "model.keras"
    killed = worker(output, "start", signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    left = epochs(output)
    assert left == list(range(len(left)))
    assert len(left) in (1, 2)
    assert load_model(output).config.alphabet is not None
    at_kill = arrays(tmp_path / "end.npz")
    assert int(at_kill[0]) == len(left) * EPOCH
    assert sum(np.abs(array).sum() > 0 for array in at_kill) > 10  # momenta and averages

    resumed = worker(output, "resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "epochs=4 interrupted=False" in resumed.stdout
    assert epochs(output) == [0, 1, 2, 3]
    for found, wanted in zip(arrays(tmp_path / "begin.npz"), at_kill, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert int(arrays(tmp_path / "end.npz")[0]) == 4 * EPOCH
    load_model(output)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a run that Ctrl-C ended, and what it wrote to its streams."""
    folder = tmp_path_factory.mktemp("interrupted")
    done = worker(folder / "model.keras", "start", signal.SIGINT)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, done.stdout, done.stderr


def test_ctrl_c_saves_and_ends_cleanly(interrupted: tuple[Path, str, str]) -> None:
    folder, said, warned = interrupted
    output = folder / "model.keras"
    assert "interrupted=True" in said
    assert "Traceback" not in warned
    assert load_model(output).halt_max_steps == 8
    assert len(epochs(output)) < 4
    assert not list(folder.glob("*.tmp*"))


def test_ctrl_c_backs_up_at_its_step_and_the_run_goes_on_from_there(
    interrupted: tuple[Path, str, str], tmp_path: Path
) -> None:
    shutil.copytree(interrupted[0], tmp_path, dirs_exist_ok=True)
    output = tmp_path / "model.keras"
    state = RunFiles(output).state()
    assert state is not None
    assert 0 < state.epoch * EPOCH + state.step <= 30
    where = next(n for n, name in enumerate(state.names) if name.startswith("iteration "))
    assert int(state.arrays[where]) == state.epoch * EPOCH + state.step
    assert epochs(output) == list(range(state.epoch))

    resumed = worker(output, "resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "epochs=4 interrupted=False" in resumed.stdout
    begun = arrays(tmp_path / "begin.npz")
    for found, wanted in zip(begun, state.arrays[where:], strict=False):
        np.testing.assert_array_equal(found, wanted)
    assert int(arrays(tmp_path / "end.npz")[0]) == 4 * EPOCH
    assert epochs(output) == [0, 1, 2, 3]
    assert not RunFiles(output).backup.exists()


def test_the_score_of_the_model_on_disk_is_known(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "model.keras")
    assert files.score() is None
    files.output.write_text("weights")
    assert files.score() is None
    files.note_score(files.output, 0.75)
    other = tmp_path / "other"
    other.write_text("written, but killed before it got its name")
    files.note_score(other, 0.99)
    assert files.score() == 0.75
    files.scores.write_text("{")
    assert files.score() is None


def test_ctrl_c_before_the_first_epoch_ends_leaves_no_empty_log(tmp_path: Path) -> None:
    output = tmp_path / "model.keras"
    done = worker(output, "start", signal.SIGINT, step=5)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"files={[str(output)]}" in done.stdout
    found = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".npz")
    assert [name for name in found if name != "model.backup"] == [
        "model.keras", "model.recipe.json",
    ]  # fmt: skip


def test_ctrl_c_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "model.keras"
    done = worker(output, "start", signal.SIGINT, step=0)
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert not output.exists()
    assert not output.with_suffix(".csv").exists()


def test_a_log_leaves_empty_what_an_epoch_does_not_have(tmp_path: Path) -> None:
    log, curve = tmp_path / "log.csv", tmp_path / "log.png"
    writer, drawer = Log(log), LearningCurve(log, curve)
    for epoch, more in enumerate(({}, dict.fromkeys(VALIDATED, 0.5), {})):
        logs = {"ce": 1.0, "exact": float("nan"), "steps": 2.0, "q_loss": 0.1, **more}
        writer.on_epoch_end(epoch, logs)
        drawer.on_epoch_end(epoch, logs)
        assert curve.exists() == (epoch > 0)
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_exact"] for row in rows] == ["", "0.5", ""]
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert "nan" not in log.read_text()
    assert writer.last == {"ce": 1.0, "steps": 2.0, "q_loss": 0.1}


def small(**changes: Any) -> Recipe:
    return recipe_for("sudoku4", steps=1, steps_per_epoch=1, **changes)


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        train(small(), tmp_path / "model.keras", resume=True)


def test_a_backup_without_its_recipe_is_named(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "model.keras")
    files.backup.mkdir()
    RunState(4, 0, {}, [], [], SLOTS[0]).write(files.backup)
    for resume in (False, True):
        with pytest.raises(OverwriteError, match=r"model.recipe.json, is missing; put it back"):
            files.check(start=None, resume=resume, force=False)
    files.check(start=None, resume=False, force=True)


def test_a_kill_between_a_backup_and_its_row_of_the_log_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, shallow.RECIPE, shallow.SHALLOW)
    output, lost = tmp_path / "model.keras", dict[int, dict[str, float]]()
    changes = {"steps_per_epoch": 1, "batch_size": 8, "validation_count": 8, "validate_every": 1}
    recipe = recipe_for(shallow.RECIPE, steps=2, **changes)

    add = Log.on_epoch_end

    def killed(log: Log, epoch: int, logs: dict[str, Any]) -> None:
        if epoch in lost:
            return add(log, epoch, logs)
        lost[epoch] = dict(logs)
        raise RuntimeError("killed")

    monkeypatch.setattr(Log, "on_epoch_end", killed)
    for resume in (False, True):
        with pytest.raises(RuntimeError, match="killed"):
            train(recipe, output, resume=resume, jit_compile=False)
    result = train(recipe, output, resume=True, jit_compile=False)
    rows = logged(output.with_suffix(".csv"))
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    for row, logs in zip(rows, lost.values(), strict=True):
        known = {name: value for name, value in logs.items() if value == value}
        assert {"loss", "ce", "minutes"} < set(known)
        found = {name: float(row[name]) for name in known if row.get(name)}
        assert found.keys() == known.keys() - {"minutes"}
        for name in found:
            assert found[name] == pytest.approx(known[name], rel=1e-6)
    assert result.epochs == 2
    assert [bool(row["val_exact"]) for row in rows] == [False, True]  # the last is validated


def test_a_run_that_diverges_keeps_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, shallow.RECIPE, shallow.SHALLOW)
    path = tmp_path / "model.keras"
    recipe = recipe_for(
        shallow.RECIPE, steps=6, steps_per_epoch=2, validate_every=1, batch_size=4,
        validation_count=4, warmup_steps=2, learning_rate=1e30,
    )  # fmt: skip
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) in epoch \d") as caught:
        train(recipe, path, jit_compile=False)
    kept = caught.value.epoch - 1
    assert [int(row["epoch"]) for row in logged(path.with_suffix(".csv"))] == [*range(kept)]
    assert path.exists() == (kept > 0)
    assert RunFiles(path).finished_epochs == kept


def test_the_log_knows_the_latest_validation(tmp_path: Path) -> None:
    path = tmp_path / "model.csv"
    assert Log(path).point is None
    path.write_text(
        f"epoch,{','.join(VALIDATED)}\n0,0.25,0.5,3.0,1.5\n1,,,,\n2,0.75,0.75,2.0,0.5\n"
    )
    point = Log(path, 2).point
    assert point is not None
    assert (point.exact, point.exact_all_steps, point.mean_steps, point.threshold) == (
        0.25, 0.5, 3.0, 1.5,
    )  # fmt: skip


def test_too_large_a_batch_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("trm_export.training.run.ACTTrainer", lacking)
    with pytest.raises(
        TRMError, match="not enough memory to train sudoku4 with a batch size of 32"
    ):
        train(small(batch_size=32), tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []


def test_bad_recipes_are_refused() -> None:
    with pytest.raises(UsageError, match="sudoku9"):
        recipe_for("chess")
    with pytest.raises(UsageError, match="batch_size"):
        small(batch_size=0)
    with pytest.raises(UsageError, match="dtype must be float32 or mixed_bfloat16, got 'float16'"):
        small(dtype="float16")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_s_model_fits_its_task(name: str) -> None:
    recipe = recipe_for(name)
    task, config = get_task(recipe.task), preset(recipe.preset)
    assert (task.vocab_size, task.seq_len) == (config["vocab_size"], config["seq_len"])


def test_the_paper_s_configurations_can_be_trained() -> None:
    papers = {name for name in PRESETS if name.startswith("paper-")}
    assert {RECIPES[name].preset for name in papers} == papers


def test_what_was_trained_in_bfloat16_is_saved_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, shallow.RECIPE, shallow.SHALLOW)
    path = tmp_path / "model.keras"
    recipe = small(dtype="mixed_bfloat16", batch_size=4, validation_count=4)
    train(recipe, path, jit_compile=False)
    model = load_model(path)
    assert model.dtype_policy.name == "float32"
    assert {str(weight.dtype) for weight in model.trainable_weights} == {"float32"}
    carry = model.initial_carry({"inputs": np.ones((2, 16), np.int32)})
    _, outputs = model(carry, {"inputs": np.ones((2, 16), np.int32)})
    assert np.isfinite(outputs["logits"]).all()


def test_a_recipe_rounds_its_epochs_up() -> None:
    assert recipe_for("sudoku4", steps=101, steps_per_epoch=50).epochs == 3
    assert recipe_for("sudoku4", steps=None) == recipe_for("sudoku4")


UNKNOWN = {"alphabet": None, "expansion": 0.5, "halt_exploration_prob": 0.2, "num_heads": 1}


@pytest.mark.parametrize("changes", [{}, UNKNOWN])
def test_training_begins_with_the_weights_of_a_checkpoint(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with those of an imported one, of which not every setting is known."""
    begun: list[Any] = []
    files = RunFiles(tmp_path / "model.keras")

    class StoppedError(Exception):
        pass

    def stop(trainer: Any, *args: Any, **options: Any) -> None:
        callbacks = {type(one).__name__: one for one in options["callbacks"]}
        begun.extend([callbacks["Backup"].recipe.start, *trainer.trm.get_weights()])
        raise StoppedError

    monkeypatch.setattr("trm_export.training.run.ACTTrainer.fit", stop)
    shipped = load_model(ROOT / "artifacts" / "sudoku4.keras")
    source = TRM.from_config({**shipped.get_config(), **changes})
    source.set_weights(shipped.get_weights())
    start = tmp_path / "start.keras"
    source.save(start)
    with pytest.raises(StoppedError):
        train(small(), files.output, start=start)
    source = load_model(start)
    assert begun[0] == weights_sha256(source)
    for found, wanted in zip(begun[1:], source.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("model")]


def test_a_start_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = ROOT / "artifacts" / "sudoku9.keras"
    with pytest.raises(
        UsageError, match=r"configuration of this recipe.*expected hidden_size 32, got 128"
    ):
        train(small(), tmp_path / "model.keras", start=other)
    assert list(tmp_path.iterdir()) == []


def test_a_start_of_other_widths_is_refused(tmp_path: Path) -> None:
    config = load_model(ROOT / "artifacts" / "sudoku4.keras").get_config()
    start = tmp_path / "start.keras"
    TRM.from_config({**config, "expansion": 40.0}).save(start)
    with pytest.raises(UsageError, match=r"recipe: expected expansion [\d.]+, got 40\.0\.$"):
        train(small(), tmp_path / "model.keras", start=start)


def write_state(folder: Path, epoch: int, recipe: Recipe | None = None, slot: int = 0) -> Path:
    given = {} if recipe is None else json.loads(json.dumps(dataclasses.asdict(recipe)))
    RunState(epoch, 0, given, ["x []"], [np.zeros(())], SLOTS[slot]).write(folder)
    return folder / SLOTS[slot]


def test_the_newest_whole_state_is_the_one_to_go_on_with(tmp_path: Path) -> None:
    files, recipe = RunFiles(tmp_path / "model.keras"), recipe_for("sudoku4", seed=3)
    with pytest.raises(UsageError, match="There is no run to resume"):
        files.check(start=None, resume=True, force=False)
    files.begin(recipe)
    with pytest.raises(UsageError, match="There is no run to resume"):
        files.check(start=None, resume=True, force=False)
    older, newer = (write_state(files.backup, 4 + slot, recipe, slot) for slot in (0, 1))
    assert progress(files) == (5, newer.name)
    newer.write_bytes(newer.read_bytes()[:-9])
    assert progress(files) == (4, older.name)
    state = files.state()
    assert state is not None
    lost = re.escape(f"{newer} is damaged; the run goes on from the other backup, after 4 epochs.")
    with pytest.warns(BackupWarning, match=lost):
        files.warn_of_damage(state)
    for damage in (b"", older.read_bytes()[:100], os.urandom(2000)):
        older.write_bytes(damage)
        with pytest.raises(RejectedInputError, match=r"state-0\.npz: the backup .* is damaged"):
            files.check(start=None, resume=True, force=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": -1},
        {"epoch": "2"},
        {"step": 1e400},
        {"step": True},
        {"names": None},
        {"names": ["x", "y"]},
        {"recipe": None},
        {"recipe": {}},
    ],
    ids=str,
)
def test_a_state_of_wrong_values_under_a_right_checksum(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    files, recipe = RunFiles(tmp_path / "model.keras"), recipe_for("sudoku4", seed=3)
    files.begin(recipe)
    path = write_state(files.backup, 4, recipe)
    arrays = read_arrays(path)
    assert arrays is not None
    about = {**json.loads(arrays["about"].tobytes()), **changes}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_arrays(path, {**arrays, "about": text})
    if changes.get("recipe") == {}:  # of another run
        with pytest.raises(RejectedInputError, match="is not the recipe of the backup"):
            files.state()
        return
    with pytest.raises(RejectedInputError, match="the backup of the run is damaged"):
        files.state()


def test_rows_that_are_none_are_left_out_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "model.csv"
    log.write_text("epoch,lesson,val_exact\n0,1,0.5\n1,inf,0.75\nx,1,1\n2,1\n3,1,0.25,9,9\n")
    assert [row["epoch"] for row in logged(log)] == ["0", "2"]
    assert best_logged(logged(log)) == 0.5
    log.write_bytes(b"epoch\n\xff\n")
    with pytest.raises(RejectedInputError, match="not the log of a run"):
        logged(log)


def progress(files: RunFiles) -> tuple[int, str]:
    state = files.state()
    assert state is not None
    return state.epoch, state.slot


def test_a_state_of_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "model.keras")
    left = write_state(files.backup, 4, recipe_for("sudoku4", seed=1))
    files.begin(recipe_for("sudoku4", seed=2))
    with pytest.raises(RejectedInputError, match=r"beside it: seed is 1 in it, got 2; put"):
        files.check(start=None, resume=True, force=False)
    assert left.exists()


def test_a_run_that_could_be_resumed_is_not_discarded(tmp_path: Path) -> None:
    output = tmp_path / "model.keras"
    RunFiles(output).begin(small())
    left = write_state(tmp_path / "model.backup", 7)
    with pytest.raises(OverwriteError, match=r"has a run of 7 epochs; .*--resume.*--force"):
        train(small(), output)
    write_state(tmp_path / "model.backup", 1)
    with pytest.raises(OverwriteError, match="has a run of 1 epoch; "):
        train(small(), output)
    assert left.exists()
    left.unlink()
    RunState(0, 37, {}, ["x []"], [np.zeros(())], SLOTS[0]).write(tmp_path / "model.backup")
    with pytest.raises(OverwriteError, match="has a run of 37 steps; "):
        train(small(), output)
    assert left.exists()


def test_of_a_complete_run_it_is_said_how_its_model_is_trained_on(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "model.keras")
    files.begin(recipe_for("sudoku4"))
    files.output.write_text("weights")
    files.discard_backup()
    with pytest.raises(UsageError, match=r"complete: --from .*model\.keras with another -o"):
        files.check(start=None, resume=True, force=False)


@pytest.mark.parametrize("folder", [True, False])
def test_a_run_whose_backup_is_lost_does_not_begin_again(folder: bool, tmp_path: Path) -> None:
    output, recipe = tmp_path / "model.keras", recipe_for("sudoku4")
    files = RunFiles(output)
    files.begin(recipe)
    files.log.write_text("epoch,loss\n0,1.0\n1,0.5\n")
    output.write_text("weights")
    if not folder:
        files.discard_backup()
    lost = r"model\.backup: the backup of the run is missing, but .*model\.csv has 2 epochs of 16; "
    with pytest.raises(RejectedInputError, match=lost + "copy it again, or start .* --force"):
        train(recipe, output, resume=True)
    assert output.read_text() == "weights"
    write_state(files.backup, 2, recipe)
    files.check(start=None, resume=True, force=False)


def test_a_run_is_resumed_by_its_own_recipe(tmp_path: Path) -> None:
    files, recipe = RunFiles(tmp_path / "model.keras"), recipe_for("sudoku9", seed=3)
    files.begin(recipe)
    assert files.recorded() == recipe
    files.refuse_changes(with_changes(recipe, seed=3, steps=None))
    files.begin(with_changes(recipe, validation_blanks=(40, 50)))
    assert files.recorded().validation_blanks == (40, 50)
    files.begin(recipe)
    with pytest.raises(UsageError, match=r"steps is 4500 in the run, got 500; seed is 3 in"):
        files.refuse_changes(with_changes(recipe, steps=500, seed=4))
    values = json.loads(files.recipe.read_text())
    odd = ({"steps": 1.5}, {"seed": "3"}, {"learning_rate": 10**400}, {"ema": None}, {"loss": [1]})
    wrong = [json.dumps({**values, **changes}) for changes in odd]
    for damaged in ("", "[]", '{"task": "sudoku9"}', '{"blanks": 3}', *wrong):
        files.recipe.write_text(damaged)
        with pytest.raises(RejectedInputError, match=r"model\.recipe\.json: not a recipe"):
            files.recorded()


def test_what_a_run_would_replace_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "model.csv").write_text("my measurements")
    with pytest.raises(OverwriteError, match=r"model\.csv would be replaced.*--force"):
        train(small(), tmp_path / "model.keras")
    with pytest.raises(UsageError, match=r"must end in \.keras"):
        train(small(), tmp_path / "model.onnx")
    assert (tmp_path / "model.csv").read_text() == "my measurements"
