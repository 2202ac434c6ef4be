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
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    first, refused, last = done.stdout.splitlines()
    assert first == last
    assert first.split()[:2] == ["yes", SOLVED]
    assert refused.startswith("refused: ")
    assert "16" in refused


def test_it_needs_no_host_package() -> None:
    text = (EXAMPLES / "device.py").read_text(encoding="utf-8")
    assert "trm_export" not in text
