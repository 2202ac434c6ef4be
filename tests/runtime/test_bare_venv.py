"""The device wheel alone: built, installed with one engine in a bare environment, and solving.

An environment takes the first Python there is of those it names (on PATH or in pyenv), so that
the oldest supported one, the newest and the last of tflite-runtime are all tried.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RUNTIMES = ROOT / "runtimes"
CHECKPOINT = ROOT / "artifacts" / "sudoku4.keras"
HOST_ONLY = ("jax", "keras", "onnx", "tensorflow", "tf2onnx", "trm_export", "typer")
UNREACHABLE = re.compile(
    r"No module named pip|No matching distribution found for [^\n]*|NewConnectionError|\w*Timeout"
)


@dataclass(frozen=True)
class Engine:
    """What one bare environment is made of."""

    extra: str
    pythons: tuple[str, ...]  # versions, the wanted one first
    distribution: str  # the engine's
    format: str  # of trm-export
    target: str  # among the engines of that format


ENGINES = (
    Engine("onnx", ("3.9", "3.10", "3.11"), "onnxruntime", "onnx", "onnxruntime"),
    Engine("openvino", ("3.13", "3.12", "3.11", "3.10"), "openvino", "onnx", "onnxruntime"),
    Engine("litert", ("3.13", "3.12", "3.11"), "ai-edge-litert", "tflite", "litert"),
    Engine("tflite", ("3.11", "3.10", "3.9"), "tflite-runtime", "tflite", "tflite-runtime"),
)


@dataclass(frozen=True)
class Solved:
    """Puzzles and what Keras makes of them."""

    puzzles: np.ndarray  # (N, S) int32 token ids
    answers: np.ndarray  # (N, S) int32
    steps: np.ndarray  # (N,) int32


@dataclass(frozen=True)
class Bare:
    """An environment that holds the wheel, one engine and nothing else, and a model for it."""

    engine: Engine
    python: Path
    model: Path
    half: Path  # the same with weights in float16


@pytest.fixture(scope="module")
def solved() -> Solved:
    """What Keras answers with the shipped 4x4 checkpoint on puzzles of its test set."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from trm_export.checkpoints.loading import load_model
    from trm_export.step.keras_runner import KerasRunner
    from trm_export.tasks import get_task
    from trm_runtime import solve

    puzzles = get_task("sudoku4").puzzles("test", count=200).inputs
    solution = solve(KerasRunner(load_model(CHECKPOINT)), puzzles)
    return Solved(puzzles, solution.answers, solution.steps)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device package, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(RUNTIMES))
    (built,) = folder.glob("trm_runtime-*.whl")
    return built


@pytest.fixture(scope="module", params=ENGINES, ids=[engine.distribution for engine in ENGINES])
def bare(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bare:
    """Each environment in turn, with the shipped 4x4 checkpoint exported for its engine."""
    engine: Engine = request.param
    folder = tmp_path_factory.mktemp("bare")
    python = make_environment(find_python(engine), folder / "venv")
    wanted = "install", "--no-compile", f"{wheel}[{engine.extra}]"
    if takes(python):
        pip("--python", str(python), *wanted)
    else:
        run(python, "-m", "ensurepip").check_returncode()
        pip(*wanted, python=python)
    return Bare(engine, python, export_for(engine, folder), export_for(engine, folder, "fp16"))


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Recordings of the shipped 4x4 checkpoint, and of one with a weight 5 % off."""
    from trm_export.checkpoints.loading import load_model
    from trm_export.parity.recording import record_file
    from trm_export.tasks import get_task
    from trm_runtime.parity import GoldenOrigin

    folder, puzzles = (
        tmp_path_factory.mktemp("golden"),
        get_task("sudoku4").puzzles("test", count=40),
    )
    model = load_model(CHECKPOINT)
    paths = folder / "good.npz", folder / "other.npz"
    for path in paths:
        record_file(model, puzzles, path, GoldenOrigin(), control=False, budget=2_000_000)
        kernel = model.inner.lm_head.kernel
        kernel.assign(kernel.value * np.float32(1.05))
    return paths


def export_for(engine: Engine, folder: Path, precision: str = "fp32") -> Path:
    from trm_export.checkpoints.loading import load_model
    from trm_export.exporters.export import Choices, export, format_named
    from trm_export.exporters.probe import probe_puzzles

    model, kind = load_model(CHECKPOINT), format_named(engine.format)
    choices, path = Choices(precision, engine=engine.target), folder / f"{precision}{kind.suffix}"
    return export(model, path, probe_puzzles(model), kind, choices).path


def find_python(engine: Engine) -> str:
    for version in engine.pythons:
        for python in pythons(version):
            if works(python):
                return python
    pytest.skip(f"{engine.distribution}: no Python {', '.join(engine.pythons)} is installed here")


def pythons(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")
    yield from [on_path] if on_path else []
    yield from map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))


def works(python: str) -> bool:
    """A pyenv shim is on PATH even where its version is not selected."""
    try:
        return subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0
    except OSError:
        return False


def make_environment(python: str, folder: Path) -> Path:
    """The Python of a new environment, without a pip of its own, which takes longest to make."""
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [python, "-m", "venv", "--without-pip", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{python} cannot make a virtual environment: {done.stdout}{done.stderr}")
    return inside


def takes(python: Path) -> bool:
    """Whether our pip, which may be newer than this Python, installs into its environment."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "--version"]
    return subprocess.run(command, capture_output=True, env=clean_environment()).returncode == 0


def pip(*arguments: str, python: Path = Path(sys.executable)) -> None:
    """Run pip; without it or an index the test is skipped, with the words of Python or pip."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    unreachable = UNREACHABLE.search(done.stderr) if done.returncode else None
    if unreachable:
        pytest.skip(f"there is no pip, or it reaches no package index: {unreachable[0]}")
    assert done.returncode == 0, done.stderr


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(python: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(python), "-I", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)


def test_the_environment_is_bare(bare: Bare) -> None:
    others = {engine.distribution for engine in ENGINES} - {bare.engine.distribution}
    names = (*HOST_ONLY, *(name.replace("-", "_") for name in others))
    code = f"""
import importlib.util, json
print(json.dumps([name for name in {names!r} if importlib.util.find_spec(name)]))
"""
    done = run(bare.python, "-c", code)
    assert json.loads(done.stdout) == [], done.stderr


def test_the_wheel_carries_its_types_and_licence(bare: Bare) -> None:
    code = """
from importlib.metadata import distribution
files = [str(path) for path in distribution("trm-runtime").files]
print("\\n".join(sorted(files)))
"""
    files = run(bare.python, "-c", code).stdout.split()
    assert "trm_runtime/py.typed" in files
    assert "trm_runtime/drivers/onnxruntime.py" in files
    assert any(name.endswith("LICENSE") for name in files)
    allowed = ("trm_runtime/", "trm_runtime-")
    assert [name for name in files if not name.startswith(allowed)] == []


def test_the_doctor_finds_the_engine(bare: Bare) -> None:
    done = run(bare.python, "-m", "trm_runtime", "doctor", "--json")
    found = json.loads(done.stdout)["engines"]
    installed = [engine["name"] for engine in found if engine["version"]]
    assert installed == [bare.engine.distribution]


def test_every_module_loads(bare: Bare) -> None:
    """On the oldest Python too."""
    code = """
import importlib, pathlib, trm_runtime
package = pathlib.Path(trm_runtime.__file__).parent
for path in package.rglob("*.py"):
    parts = path.relative_to(package).with_suffix("").parts
    importlib.import_module(".".join(("trm_runtime", *parts)))
"""
    done = run(bare.python, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_solves_puzzles_with_the_same_answers(
    bare: Bare, solved: Solved, precision: str
) -> None:
    model = bare.model if precision == "fp32" else bare.half
    text = "\n".join("".join(".1234"[token - 1] for token in row) for row in solved.puzzles)
    options = ("--json", "--threads", "1")  # idle threads wait busily, which a loaded machine feels
    done = run(bare.python, "-m", "trm_runtime", str(model), "-", *options, text=text)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["puzzles"]
    np.testing.assert_array_equal([puzzle["ids"] for puzzle in found], solved.answers)
    np.testing.assert_array_equal([puzzle["steps"] for puzzle in found], solved.steps)


def test_the_wheel_holds_the_schema_of_the_contract(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = archive.read("trm_runtime/contract.schema.json")
    assert shipped == (RUNTIMES / "trm_runtime" / "contract.schema.json").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "scrambled"])
def test_it_refuses_a_broken_model_there_too(bare: Bare, tmp_path: Path, damage: str) -> None:
    data = bare.model.read_bytes()
    damaged = tmp_path / f"damaged{bare.model.suffix}"
    damaged.write_bytes(data[:-9] if damage == "truncated" else data[:99] + data[199:])
    done = run(bare.python, "-m", "trm_runtime", str(damaged), "-")
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith(f"Error: {damaged}: ")
    assert "damaged" in done.stderr or "truncated" in done.stderr


def test_a_golden_is_checked_without_keras(bare: Bare, goldens: tuple[Path, Path]) -> None:
    options = ("--json", "--threads", "1")
    good, other = (
        run(bare.python, "-m", "trm_runtime", "check", str(bare.model), str(golden), *options)
        for golden in goldens
    )
    found = json.loads(good.stdout)
    assert (good.returncode, found["passed"]) == (0, True), good.stderr
    assert found["verdict"].startswith("PASSED on 40 puzzles. The reference settles")
    assert (found["decisions"]["answers_equal"], found["accuracy"]["lost"]) == (40, [])
    failed = json.loads(other.stdout)
    assert (other.returncode, failed["passed"]) == (5, False), other.stderr
    assert "other weights" in failed["verdict"], failed["verdict"]
