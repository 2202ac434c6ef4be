"""`trm-export all` and `bench` on the shipped 4x4 checkpoint, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support import console
from trm_export.commands.support.app import run
from trm_export.errors import RejectedInputError
from trm_export.exporters.choices import FORMATS, PRECISIONS

MODEL = str(shipped_checkpoint("sudoku4"))


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr(console, "remark", said.append)
        assert run(["all", MODEL, "-o", str(folder)]) == 0
    source = folder / "sudoku4_c"
    assert said[-1].endswith(f"it is made by: trm-export c {MODEL} -o {source}")
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


def test_all_finds_the_files_of_others_before_it_writes(
    whole_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole_set / "sudoku4_saved_model", tmp_path / "sudoku4_saved_model")
    (tmp_path / "sudoku4_saved_model" / "NOTES.txt").write_text("mine")
    capsys.readouterr()
    assert run(["all", MODEL, "-o", str(tmp_path)]) == 1
    assert "that were changed since: NOTES.txt;" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["sudoku4_saved_model"]


def test_bench_tells_cost_and_answers(
    whole_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(whole_set / name) for name in ("sudoku4.onnx", "sudoku4.tflite")]
    target = tmp_path / "bench.json"
    assert run(["bench", MODEL, *files, "--count", "20", "--json", "-o", str(target)]) == 0
    found = document(capsys)
    assert json.loads(target.read_text()) == found
    assert [row["file"] for row in found["rows"]] == ["sudoku4.onnx", "sudoku4.tflite"]
    for row, engine in zip(found["rows"], ("onnxruntime", "ai-edge-litert"), strict=True):
        assert re.match(rf"{engine}(-nightly)? \d", row["engine"])
        assert row["puzzles"] == 20
        assert row["exact"] == row["answers_equal"] == row["steps_equal"] == 1.0
        assert row["exact_interval"][0] > 0.8
        assert row["mean_steps"] == 1.0
        assert row["step_ms"] > 0
        assert row["bytes"] > 100_000
        speed = row["of_peak"] * row["peak_gflops"] * row["step_ms"] * 1e6  # operations a step
        assert speed == pytest.approx(2 * 6_700_000, rel=0.05)
    assert found["machine"]["engines"]
    assert found["reference"]["exact"] == 1.0


def test_bench_names_every_file_that_cannot_be_measured_and_measures_the_others(
    whole_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, missing = tmp_path / "damaged.onnx", tmp_path / "missing.tflite"
    damaged.write_bytes(b"nothing")
    twice = str(whole_set / ".." / whole_set.name / "sudoku4.onnx")
    files = [str(damaged), str(whole_set / "sudoku4.onnx"), str(missing), twice, str(missing)]
    report = tmp_path / "bench.json"
    assert run(["bench", MODEL, *files, "--count", "2", "-o", str(report)]) == 4
    said = capsys.readouterr()
    assert "sudoku4.onnx" in said.out
    assert "damaged.onnx" not in said.out
    told = [line for line in said.err.splitlines() if not line.startswith("Error: ")]
    assert max(map(len, told)) <= 80
    assert "one process a row. Export in s, " in " ".join(told)
    assert "above 1 where int8 or products that fit the cache are faster" in " ".join(told)
    lines = [line for line in said.err.splitlines() if line.startswith("Error: ")]
    assert lines[0].startswith(f"Error: {damaged}: not an ONNX file, or a damaged one")
    assert lines[1].startswith(f"Error: {missing}: cannot be read: No such file")
    assert [said.err.count(str(file)) for file in (damaged, missing)] == [1, 1]
    written = json.loads(report.read_text())
    assert [row["file"] for row in written["rows"]] == ["sudoku4.onnx"]
    assert [failure["file"] for failure in written["failures"]] == [damaged.name, missing.name]
    assert [failure["exit_code"] for failure in written["failures"]] == [4, 4]


def test_bench_of_nothing_that_can_be_measured_is_one_document_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", MODEL, str(tmp_path / "none.onnx"), "--count", "2", "--json"]) == 4
    found = document(capsys)
    assert found["rows"] == []
    assert "No such file" in found["failures"][0]["reason"]
    assert run(["bench", MODEL, str(tmp_path / "none.onnx"), "--count", "2"]) == 4
    assert capsys.readouterr().out == ""


def test_an_engine_that_goes_down_is_a_known_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from trm_export.artifacts import benchmark

    ended = subprocess.CompletedProcess[str]([], -11, "", "")
    monkeypatch.setattr(benchmark, "_run", lambda command: ended)
    with pytest.raises(
        RejectedInputError, match=r"m.onnx: the process that opened it crashed \(SIGSEGV\); do not"
    ):
        benchmark.bench(tmp_path / "m.onnx", np.zeros((1, 16), np.int32))


def test_one_golden_serves_all_exports_of_the_same_puzzles() -> None:
    from trm_export.checkpoints.loading import load_model
    from trm_export.exporters.probe import probe_puzzles
    from trm_export.exporters.shared import Shared

    model = load_model(MODEL)
    shared, puzzles = Shared(model), probe_puzzles(model)
    golden = shared.golden(puzzles)
    assert shared.golden(probe_puzzles(model)) is golden
    assert shared.golden(probe_puzzles(model, 7)) is not golden
    assert golden.followed == golden.puzzles == len(puzzles)


def test_a_preset_is_measured_in_every_format_though_random_weights_pass_no_gate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "sudoku4", "--json"]) == 0
    found = document(capsys)
    assert len(found["rows"]) == 11
    assert found["failures"] == []
    assert {row["exact"] for row in found["rows"]} == {None}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_file_that_fails_its_check_ends_with_5_and_one_document(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from trm_export.exporters import export_all as every

    entry = every.SetEntry("onnx", "int8", tmp_path / "m.onnx", failed="it computes something else")
    monkeypatch.setattr(every, "export_all", lambda *_, **__: iter([entry]))
    assert run(["all", MODEL, "-o", str(tmp_path), *options]) == 5
    printed = capsys.readouterr()
    if options:
        assert [file["failed"] for file in json.loads(printed.out)["files"]] == [entry.failed]
    else:
        assert "Error: 1 file failed the check against Keras." in printed.err
