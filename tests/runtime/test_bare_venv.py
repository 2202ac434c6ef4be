"""The device wheel alone: built, installed with its engine in a bare environment, and solving.

Python 3.9 is taken where there is one (TRM_BARE_PYTHON, PATH, pyenv), because it is the oldest
that trm-runtime supports; otherwise 3.11 or the Python of the tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RUNTIMES = ROOT / "runtimes"
CHECKPOINT = ROOT / "artifacts" / "sudoku4.keras"
HOST_ONLY = ("jax", "keras", "onnx", "tensorflow", "tf2onnx", "trm_export", "typer")
UNREACHABLE = re.compile(r"No matching distribution found for [^\n]*|NewConnectionError|\w*Timeout")


@dataclass(frozen=True)
class Exported:
    """An exported model and what it must answer."""

    model: Path
    puzzles: np.ndarray  # (N, S) int32 token ids
    answers: np.ndarray  # (N, S) int32
    steps: np.ndarray  # (N,) int32


@pytest.fixture(scope="module")
def exported_model(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The shipped 4x4 checkpoint as ONNX, and what Keras answers on puzzles of its test set."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from trm_export.checkpoint import load_model
    from trm_export.export.export import export, format_named
    from trm_export.export.probe import probe_puzzles
    from trm_export.reference import KerasRunner
    from trm_export.tasks import get_task
    from trm_runtime import solve

    model = load_model(CHECKPOINT)
    target = tmp_path_factory.mktemp("model") / "sudoku4.onnx"
    export(model, target, probe_puzzles(model), format_named("onnx"))
    puzzles = get_task("sudoku4").puzzles("test", count=200).inputs
    solution = solve(KerasRunner(model), puzzles)
    return Exported(target, puzzles, solution.answers, solution.steps)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, its ONNX extra and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    pip = [sys.executable, "-m", "pip"]
    install([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(RUNTIMES)])
    (wheel,) = folder.glob("trm_runtime-*.whl")
    python = make_environment(oldest_python(), folder / "venv")
    install([str(python), "-m", "pip", "install", f"{wheel}[onnx]"])
    return python


def oldest_python() -> str:
    named = os.environ.get("TRM_BARE_PYTHON") or shutil.which("python3.9")
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.9*/bin/python"))
    candidates = [named, *map(str, pyenv), shutil.which("python3.11"), sys.executable]
    return next(python for python in candidates if python and works(python))


def works(python: str) -> bool:
    """A pyenv shim is on PATH even where its version is not selected."""
    try:
        return subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0
    except OSError:
        return False


def make_environment(python: str, folder: Path) -> Path:
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = subprocess.run([python, "-m", "venv", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{python} cannot make a virtual environment: {done.stdout}{done.stderr}")
    return inside


def install(command: Sequence[str]) -> None:
    """Run pip; without a package index the test is skipped, with pip's own words."""
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    unreachable = UNREACHABLE.search(done.stderr) if done.returncode else None
    if unreachable:
        pytest.skip(f"pip reaches no package index: {unreachable[0]}")
    assert done.returncode == 0, done.stderr


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(python: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(python), "-I", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)


def test_the_environment_is_bare(bare_python: Path) -> None:
    code = f"""
import importlib.util, json
print(json.dumps([name for name in {HOST_ONLY!r} if importlib.util.find_spec(name)]))
"""
    done = run(bare_python, "-c", code)
    assert json.loads(done.stdout) == [], done.stderr


def test_the_wheel_carries_its_types_and_licence(bare_python: Path) -> None:
    code = """
from importlib.metadata import distribution
files = [str(path) for path in distribution("trm-runtime").files]
print("\\n".join(sorted(files)))
"""
    files = run(bare_python, "-c", code).stdout.split()
    assert "trm_runtime/py.typed" in files
    assert "trm_runtime/drivers/onnx.py" in files
    assert any(name.endswith("LICENSE") for name in files)
    allowed = ("trm_runtime/", "trm_runtime-")
    assert [name for name in files if not name.startswith(allowed)] == []


def test_it_solves_puzzles_with_the_same_answers(
    bare_python: Path, exported_model: Exported
) -> None:
    text = "\n".join(" ".join(map(str, row)) for row in exported_model.puzzles.tolist())
    command = ("-m", "trm_runtime", str(exported_model.model), "-", "--json")
    done = run(bare_python, *command, text=text)
    assert done.returncode == 0, done.stderr
    solved = json.loads(done.stdout)["puzzles"]
    np.testing.assert_array_equal([puzzle["ids"] for puzzle in solved], exported_model.answers)
    np.testing.assert_array_equal([puzzle["steps"] for puzzle in solved], exported_model.steps)


def test_it_refuses_a_broken_model_there_too(
    bare_python: Path, exported_model: Exported, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(exported_model.model.read_bytes()[:-9])
    done = run(bare_python, "-m", "trm_runtime", str(damaged), "-")
    assert done.returncode == 4
    assert "not an ONNX file, or a damaged one" in done.stderr
