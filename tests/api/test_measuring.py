"""`tune`, `bench` and `evaluate` as functions, on the shipped 4x4 checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trm_export as te
from trm_export.api.planning import Limits
from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import OverwriteError, RejectedInputError, UsageError
from trm_export.parity.bench_document import rows_for
from trm_export.tasks import PuzzleSet, get_task
from trm_export.tasks.selection import read_choice
from trm_runtime import open_runner, solve
from trm_runtime.json_values import plain

pytest.importorskip("onnxruntime")

MODEL = shipped_checkpoint("sudoku4")


@pytest.fixture(scope="module")
def model() -> Any:
    return te.load(MODEL)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measuring") / "slow.onnx"
    assert run(["onnx", str(MODEL), "--halt-threshold", "3", "-o", str(path), "--json"]) == 0
    return path


def test_tune_takes_arrays_and_writes_a_copy(file: Path, tmp_path: Path) -> None:
    given, before = get_task("sudoku4").puzzles("validation", count=20), file.read_bytes()
    found = te.tune(file, puzzles=(given.inputs, given.labels), output=tmp_path / "fast.onnx")
    assert found.tuning.puzzles == 20
    endings = ("", ".json", ".measured.json")
    assert found.files == tuple(tmp_path / f"fast.onnx{ending}" for ending in endings)
    chosen = embedded_contract(found.files[0]).halt
    assert chosen.threshold == found.tuning.chosen.threshold
    assert file.read_bytes() == before
    assert found.to_json()["kind"] == "tune"
    with pytest.raises(UsageError, match="The array of puzzles has no solutions"):
        te.tune(file, puzzles=given.inputs, dry_run=True)


def test_a_plan_takes_numbers_of_numpy(file: Path) -> None:
    four, half = np.int64(4), np.float32(0.5)
    options: dict[str, Any] = {"count": four, "blanks": four, "tries": four, "seed": four}
    found = te.plan(file, deadline=half, memory=four * 10**9, vary="both", sigma=half, **options)  # type: ignore[arg-type]
    assert found
    assert found.limits == Limits(deadline=0.5, memory=4 * 10**9)


def test_a_dry_run_of_tune_is_the_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = te.tune(str(file), count=20, dry_run=True)
    assert found.files == ()
    assert run(["tune", str(file), "--count", "20", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(plain(found.to_json())))
    assert len(repr(found).splitlines()) == 1
    assert "chosen" in found._repr_html_()


def test_bench_is_falsy_where_a_file_fails(model: Any, file: Path, tmp_path: Path) -> None:
    damaged, output = tmp_path / "damaged.onnx", tmp_path / "bench.json"
    damaged.write_bytes(b"nothing")
    told: list[tuple[float, str]] = []
    found = te.bench(
        model, [file, damaged], count=4, output=output, progress=lambda *said: told.append(said)
    )
    assert not found
    assert (found.exit_code, found.trained) == (4, True)
    assert [row.file for row in found.rows] == ["slow.onnx"]
    assert [failure.file for failure in found.failures] == ["damaged.onnx"]
    assert told == [(0.5, "slow.onnx"), (1.0, "damaged.onnx")]
    assert json.loads(output.read_text()) == json.loads(json.dumps(plain(found.to_json())))
    assert len(repr(found).splitlines()) == 1
    assert "damaged.onnx" in found._repr_html_()
    assert te.bench(model, file, count=2)


def test_bench_refuses_an_unknown_engine_before_it_runs_the_model(
    file: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.onnx"
    for files in (file, [missing, file]):
        with pytest.raises(UsageError, match=r"'x' is no engine for an \.onnx file; choose"):
            te.bench("no such model.keras", files, engine="x")
    found = te.bench(MODEL, [file, missing], engine="onnxruntime", count=2)
    assert [one.file for one in found.failures] == ["missing.onnx"]


def test_files_of_one_name_are_told_apart(model: Any, file: Path, tmp_path: Path) -> None:
    files = [tmp_path / folder / "m.onnx" for folder in "ab"]
    for one in files:
        one.parent.mkdir()
        shutil.copy(file, one)
    found = te.bench(model, [*files, tmp_path / "m.onnx"], count=2, output=tmp_path / "b.json")
    assert [row.file for row in found.rows] == ["a/m.onnx", "b/m.onnx"]
    assert [one.file for one in found.failures] == [f"{tmp_path.name}/m.onnx"]
    costs = rows_for(tmp_path / "b.json", files)
    assert [None if cost is None else cost["file"] for cost in costs] == ["a/m.onnx", "a/m.onnx"]


def test_bench_solves_with_the_identifiers_of_the_puzzles(tmp_path: Path) -> None:
    te.load(MODEL)  # imports Keras as this library does
    model = te.TRM(
        *(7, 16, 2, 1.0, 10), family="paper", puzzle_emb_len=1, puzzle_emb_ndim=16,
        num_puzzle_identifiers=5, l_layers=1, h_layers=1, halt_max_steps=2,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    table = model.inner.puzzle_emb.weights[0]
    table.assign(rng.normal(0, 5, table.shape))
    inputs = np.repeat(rng.integers(0, 7, (1, 10)), 5, axis=0).astype(np.int32)
    five = np.arange(5, dtype=np.int32)
    puzzles = PuzzleSet(inputs, None, blanks=five, identifiers=five)
    exported = te.export(model, tmp_path / "m.onnx").path
    answers = solve(open_runner(exported), puzzles.feeds(5)).answers
    assert len(np.unique(answers, axis=0)) > 1  # the identifiers matter
    (row,) = te.bench(model, exported, puzzles=puzzles).rows
    assert row.answers_equal == 1.0


def test_evaluate_takes_models_and_files_alike(model: Any, file: Path) -> None:
    by_model = te.evaluate(model, blanks=8, count=12)
    by_file = te.evaluate(file, blanks=8, count=12)
    assert by_model.figures["exact"] == by_file.figures["exact"]
    assert by_model.to_json()["task"] == "sudoku4"
    assert len(by_model.boards) == 12
    inputs, answer, title = by_model.boards[0]
    assert inputs.shape == answer.shape == (16,)
    assert title.startswith(("right", "wrong"))
    assert by_file.to_json()["model"] == str(file)
    with pytest.raises(UsageError, match="no solutions to compare answers with"):
        te.evaluate(model, puzzles=get_task("sudoku4").puzzles("test", count=2).inputs)


def test_tries_and_all_their_steps_are_counted(model: Any, file: Path) -> None:
    puzzles = get_task("sudoku4").puzzles("test", count=12)
    voted: dict[str, Any] = {"puzzles": puzzles, "tries": 3, "choose": "vote"}
    once, again = te.evaluate(file, puzzles=puzzles), te.evaluate(file, **voted)
    wanted = solve(open_runner(file), puzzles.inputs, tries=3, choose="vote")
    assert wanted.total_steps is not None
    assert again.figures["mean_steps"] == wanted.total_steps.mean() > once.figures["mean_steps"]
    assert again.figures["mean_tries"] == 3.0
    assert "mean_tries" not in once.figures
    found = te.bench(model, file, **voted)
    assert found.rows[0].mean_steps == again.figures["mean_steps"]
    assert found.rows[0].exact == again.figures["exact"]
    assert found.document["tries"]["tries"] == 3
    assert "tries" not in te.bench(model, file, count=2).document


def test_what_cannot_be_is_refused(model: Any, file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(OverwriteError):
        te.bench(model, file, output=tmp_path / "mine.json")
    with pytest.raises(UsageError, match="--vote needs an ARC task, got"):
        te.evaluate(model, vote=2)
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        te.tune(file, output=tmp_path / "other.tflite")
    with pytest.raises(RejectedInputError):
        te.evaluate(tmp_path / "none.keras")
    with pytest.raises(UsageError, match="lose must be 0 to 100 points of accuracy, got 101"):
        te.tune(file, count=4, lose=101, dry_run=True)
    assert np.isfinite(te.evaluate(model, count=2).figures["mean_steps"])


def test_hard_is_a_word_for_puzzles_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_choice("hard", None) == (None, "hard")
    assert read_choice(Path("hard"), 5) == (Path("hard"), 5)
    (tmp_path / "hard").write_text("1.34341221434321\n")
    assert read_choice("hard", None) == ("hard", None)
    (tmp_path / "hard").unlink()
    (tmp_path / "hard" / "test").mkdir(parents=True)
    (tmp_path / "hard" / "notes.txt").write_text("of another matter")
    assert read_choice("hard", None) == (None, "hard")
    (tmp_path / "hard" / "test" / "dataset.json").write_text("{}")
    assert read_choice("hard", None) == ("hard", None)
    (tmp_path / "hard" / "test" / "dataset.json").unlink()
    (tmp_path / "hard" / "sudoku4.onnx.json").write_text('{"model_name": "sudoku4"}')
    (tmp_path / "hard" / "broken.json").write_text("{")
    assert read_choice("hard", None) == (None, "hard")
    (tmp_path / "hard" / "problem.json").write_text('{"train": [], "test": []}')
    assert read_choice("hard", None) == ("hard", None)
    (tmp_path / "hard" / "problem.json").unlink()
    recorded = te.record(shipped_checkpoint("sudoku9"), "hard", count=2, control=False, states=1)
    assert recorded.path == Path("artifacts", "sudoku9.golden.npz")
    wanted = get_task("sudoku9").puzzles("test", "hard", 2)
    assert (recorded.golden.chunks[0].tokens["inputs"] == wanted.inputs).all()
