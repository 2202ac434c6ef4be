"""Exported files, a recorded reference, and node with the packages of `make test-devices`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
WEB = ROOT / "runtimes" / "web"
MODULES = WEB / "node_modules"

EXPORTS: Mapping[str, Mapping[str, Any]] = {
    "sudoku4.onnx": {},
    "sudoku9.onnx": {},
    "sudoku9-int8.onnx": {"precision": "int8"},
    "sudoku9-loop.onnx": {"granularity": "loop"},
    "sudoku9.tflite": {"ports": "int32"},
    "sudoku9-int8.tflite": {"ports": "int32", "precision": "int8"},
    "sudoku9-loop.tflite": {"granularity": "loop"},
}
"""The files of the tests, and what they are exported with."""

Exported = Callable[[str], Path]
Recorded = Callable[[str], Path]


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
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Exports a shipped model the first time that its file is asked for."""
    folder = tmp_path_factory.mktemp("exports")

    def file(name: str) -> Path:
        import trm_export as te

        path = folder / name
        if not path.exists():
            model = name.partition(".")[0].partition("-")[0]
            te.export(ROOT / "artifacts" / f"{model}.keras", path, **EXPORTS[name])
        return path

    return file


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Records the reference of a shipped model the first time that it is asked for."""
    folder = tmp_path_factory.mktemp("golden")

    def golden(model: str) -> Path:
        import trm_export as te

        path = folder / f"{model}.npz"
        if not path.exists():
            source = ROOT / "artifacts" / f"{model}.keras"
            te.record(source, output=path, count=10, control=False, device="cpu")
        return path

    return golden
