"""Made files, a recorded reference, and node with the packages of `make test-devices`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from tests.devices.shipped import ROOT, Made, exporting, recording

WEB = ROOT / "runtimes" / "web"
MODULES = WEB / "node_modules"

EXPORTS: Mapping[str, Mapping[str, Any]] = {
    "sudoku4.onnx": {},
    "sudoku4.tflite": {"ports": "int32"},
    "sudoku9.onnx": {},
    "sudoku9-int8.onnx": {"precision": "int8"},
    "sudoku9-loop.onnx": {"granularity": "loop"},
    "sudoku9.tflite": {"ports": "int32"},
    "sudoku9-int8.tflite": {"ports": "int32", "precision": "int8"},
    "sudoku9-loop.tflite": {"granularity": "loop"},
}
"""The files of the tests, and what they are exported with."""


@pytest.fixture(scope="session")
def node() -> str:
    """The program; skips without it, or without the packages of runtimes/web."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed; make test-devices installs it on Debian")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    if int(version.strip("v\n").split(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} is too old; the browser runtime needs 20")
    if not (MODULES / "onnxruntime-web").is_dir():
        pytest.skip("runtimes/web/node_modules lacks onnxruntime-web; run make test-devices")
    return found


@pytest.fixture(scope="session")
def chromium(node: str) -> str:
    """The program; skips without it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed; make test-devices installs it on Debian")
    return found


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return exporting(tmp_path_factory.mktemp("exports"), EXPORTS)


@pytest.fixture(scope="session")
def recorded_one(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A reference of one puzzle, for engines that are slow here."""
    return recording(tmp_path_factory.mktemp("golden_of_one"), 1)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return recording(tmp_path_factory.mktemp("golden"), 10)
