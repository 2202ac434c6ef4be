"""`trm-export all` and `bench` on the shipped 4x4 checkpoint, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trm_export.commands.app import run
from trm_export.export.choices import FORMATS, PRECISIONS
from trm_export.shipped import shipped_checkpoint

MODEL = str(shipped_checkpoint("sudoku4"))


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    assert run(["all", MODEL, "-o", str(folder)]) == 0
    return folder


def test_all_makes_every_file_or_says_why_not(
    whole_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["all", MODEL, "-o", str(whole_set), "--json"]) == 0
    files = document(capsys)["files"]
    pairs = [(entry["format"], entry["precision"]) for entry in files]
    assert pairs == [(kind, precision) for kind in FORMATS for precision in PRECISIONS]
    for entry in files:
        assert (entry["result"] is None) == (entry["refused"] is not None)
        assert entry["failed"] is None
        assert Path(entry["path"]).exists() == (entry["result"] is not None)
        assert Path(entry["path"] + ".json").exists() == (entry["result"] is not None)
    made = {pair for pair, entry in zip(pairs, files, strict=True) if entry["result"]}
    assert {(kind, "fp32") for kind in FORMATS} <= made


def test_bench_tells_cost_and_answers(
    whole_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(whole_set / name) for name in ("sudoku4.onnx", "sudoku4.tflite")]
    target = tmp_path / "bench.json"
    assert run(["bench", MODEL, *files, "--count", "20", "--json", "-o", str(target)]) == 0
    found = document(capsys)
    assert json.loads(target.read_text()) == found
    assert [row["file"] for row in found["rows"]] == ["sudoku4.onnx", "sudoku4.tflite"]
    for row, engine in zip(found["rows"], ("onnxruntime ", "ai-edge-litert "), strict=True):
        assert row["engine"].startswith(engine)
        assert row["puzzles"] == 20
        assert row["exact"] == row["answers_equal"] == row["steps_equal"] == 1.0
        assert row["exact_interval"][0] > 0.8
        assert row["mean_steps"] == 1.0
        assert row["step_ms"] > 0
        assert row["bytes"] > 100_000
    assert found["machine"]["engines"]
    assert found["reference"]["exact"] == 1.0


def test_bench_names_a_file_that_cannot_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"nothing")
    assert run(["bench", MODEL, str(damaged), "--count", "2"]) == 1
    said = capsys.readouterr().err
    assert "damaged.onnx: could not be measured" in said
    assert "RejectedInputError" not in said
    assert run(["bench", MODEL, str(tmp_path / "missing.onnx"), "--count", "2"]) == 4


def test_one_golden_serves_all_exports_of_the_same_puzzles() -> None:
    from trm_export.checkpoint import load_model
    from trm_export.export.probe import probe_puzzles
    from trm_export.export.shared import Shared

    model = load_model(MODEL)
    shared, puzzles = Shared(model), probe_puzzles(model)
    golden = shared.golden(puzzles)
    assert shared.golden(probe_puzzles(model)) is golden
    assert shared.golden(probe_puzzles(model, 7)) is not golden
    assert golden.followed == golden.puzzles == len(puzzles)
