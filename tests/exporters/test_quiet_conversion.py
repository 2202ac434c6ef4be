"""What TensorFlow logs of a conversion, which TensorFlow before 2.21 does at every level."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trm_runtime.drivers.quiet import LEVEL, SILENT, unlogged

LINES = b"""\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1796099070.659610   16173 single_machine.cc:376] Starting new session
"""
OTHERS = b"Exported in 0.3 s\n"


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_the_command_shows_none_of_it(tiny_keras: Path, tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-m", "trm_export", kind, tiny_keras, "-o", tmp_path / f"m.{kind}"]
    environment = {name: value for name, value in os.environ.items() if name != LEVEL}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    first, *rest = done.stderr.decode().splitlines()
    assert first.startswith("Exported in ")
    assert [line.partition(":")[0] for line in rest] == ["Next"]


@pytest.mark.parametrize(
    ("version", "level", "shown"),
    [
        ("2.18.1", SILENT, OTHERS),
        ("2.20.0", SILENT, OTHERS),
        ("2.20.0", "0", LINES + OTHERS),
        ("2.20.0", None, LINES + OTHERS),
        ("2.21.0", SILENT, LINES + OTHERS),
        ("2.22.0-rc0", SILENT, LINES + OTHERS),
        ("3.0.0", SILENT, LINES + OTHERS),
    ],
)
def test_lines_of_old_releases_are_removed(
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    version: str,
    level: str | None,
    shown: bytes,
) -> None:
    monkeypatch.delenv(LEVEL, raising=False)
    if level is not None:
        monkeypatch.setenv(LEVEL, level)
    with unlogged(version):
        os.write(2, LINES + OTHERS)
    assert capfdbinary.readouterr().err == shown
