"""Training and recording where neither TensorFlow nor matplotlib is installed; the GPU script."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="jax is not installed")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "run.sh"
BARE = """
from importlib.machinery import PathFinder
missing = "tensorflow", "matplotlib", "onnx", "onnxruntime", "tf2onnx", "torch"
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *given: (
    None if name.partition(".")[0] in missing else find(name, *given)
)
from trm_export.commands import main
main()
"""


def bare(*words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtimes")])
    return subprocess.run(
        [sys.executable, "-c", BARE, *words],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": paths},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def test_training_needs_keras_and_one_backend(tmp_path: Path) -> None:
    target = tmp_path / "model.keras"
    done = bare("train", "sudoku4", "-o", str(target), "--steps", "2", "--batch-size", "4",
                "--steps-per-epoch", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    endings = (".keras", ".csv", ".recipe.json")
    assert done.stdout.splitlines()[-3:] == [str(target.with_suffix(one)) for one in endings]
    assert len(target.with_suffix(".csv").read_text().splitlines()) == 3
    assert "because Matplotlib is not installed; install it with `pip install" in done.stderr


def test_recording_needs_keras_and_one_backend(tmp_path: Path) -> None:
    model, target = ROOT / "artifacts" / "sudoku4.keras", tmp_path / "four.golden.npz"
    done = bare("reference", str(model), "-o", str(target), "--count", "4", "--no-control")
    assert done.returncode == 0, done.stderr[-2000:]
    assert target.exists()


def script(folder: Path, *words: str, **variables: str) -> tuple[int, list[str]]:
    """The exit status of the GPU script and the Python commands that it gives."""
    python, log = folder / "python", folder / "commands"
    python.write_text(f'#!/bin/sh\necho "$KERAS_BACKEND: $*" >> {log}\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    log.unlink(missing_ok=True)
    env = {**os.environ, "PYTHON": str(python), "OUT": str(folder / "out"), "KERAS_BACKEND": ""}
    done = subprocess.run(
        ["bash", str(SCRIPT), *words], env={**env, **variables}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    given = log.read_text().splitlines() if log.exists() else []
    return done.returncode, [line for line in given if "cli.py" in line or "benchmarks" in line]


def test_the_gpu_script_records_every_model_on_every_backend(tmp_path: Path) -> None:
    status, commands = script(tmp_path, "goldens", COUNT="7")
    assert status == 0
    for backend in ("jax", "torch"):
        for model in ("sudoku9", "maze11"):
            start = f"{backend}: cli.py reference artifacts/{model}.keras --require-gpu --count 7 "
            assert sum(line.startswith(start) for line in commands) == 1
    assert commands[-1].startswith("torch: benchmarks/gpu/compare_tf32.py")
    assert len(commands) == 5


def test_the_gpu_script_trains_and_goes_on(tmp_path: Path) -> None:
    status, (first,) = script(tmp_path, "train", BATCH="9")
    assert status == 0
    assert first.startswith(f"jax: cli.py train sudoku9-hard -o {tmp_path}/out/train/sudoku9-hard")
    assert "--batch-size 9" in first
    assert "--from artifacts/sudoku9.keras" in first
    (tmp_path / "out" / "train" / "sudoku9-hard.recipe.json").write_text("{}")
    status, (again,) = script(tmp_path, "train")
    assert " --resume --until 2" in again
    assert "--from" not in again


def test_the_gpu_script_says_how_it_is_used(tmp_path: Path) -> None:
    assert script(tmp_path) == (2, [])
    assert script(tmp_path, "sing") == (2, [])
