"""`benchmarks/try_other_engines.py` with the one tool that every environment of the tests has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import trm_export as te
from benchmarks import try_other_engines
from trm_export.checkpoints.shipped import shipped_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    model = te.load(shipped_checkpoint("sudoku4"))
    te.record(model, output=folder / "golden.npz", count=4)
    te.export(model, folder / "step.onnx")
    te.export(model, folder / "block.onnx", granularity="block")
    te.export(model, folder / "int8.onnx", precision="int8")
    return folder


def tried(folder: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> int:
    words = ["try_other_engines.py", "onnx", str(folder / file), str(folder / "golden.npz")]
    monkeypatch.setattr(sys, "argv", words)
    return try_other_engines.main()


@pytest.mark.parametrize("file", ["step.onnx", "block.onnx"])
def test_the_reference_of_onnx_passes(
    folder: Path, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tried(folder, file, monkeypatch) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("onnx ")
    assert f" {file}: PASSED on 4 puzzles. " in line
    assert line.endswith("Equal of all 4: 4 answers, 4 halting steps.")


def test_what_a_tool_refuses_is_told_in_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tried(folder, "int8.onnx", monkeypatch) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert " int8.onnx: REFUSED: RuntimeError: No implementation for operator" in line
