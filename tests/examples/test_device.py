"""The program of a device runs with real files of two engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.files import BOARD, EXAMPLES, SOLVED, exported

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_it_answers_each_line_and_goes_on_after_a_bad_one(tmp_path: Path, suffix: str) -> None:
    model = exported(tmp_path / f"model{suffix}")
    command = [sys.executable, str(EXAMPLES / "device.py"), str(model)]
    lines = f"{BOARD}\n12\n{BOARD}\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (4, "")
    good = subprocess.run(command, input=f"{BOARD}\n", capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    first, refused, last = done.stdout.splitlines()
    assert first == last
    assert first.split()[:2] == ["yes", SOLVED]
    assert refused.startswith("refused: ")
    assert "16" in refused


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "Usage: python examples/device.py MODEL < BOARDS\n"),
        (["a.onnx", "b.txt"], 2, "Usage: python examples/device.py MODEL < BOARDS\n"),
        (["missing.onnx"], 4, "Error: missing.onnx: "),
        (["empty.onnx"], 4, "Error: empty.onnx: "),
    ],
)
def test_what_is_wrong_is_a_sentence_and_an_exit_code(
    tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    command = [sys.executable, str(EXAMPLES / "device.py"), *words]
    done = subprocess.run(command, input=BOARD, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


def test_it_needs_no_host_package() -> None:
    text = (EXAMPLES / "device.py").read_text(encoding="utf-8")
    assert "trm_export" not in text
