"""Arrows go from heavy to light: what a device loads, seen from a fresh interpreter."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import trm_runtime

HEAVY = {
    "ai_edge_litert", "jax", "keras", "matplotlib", "onnx", "onnxruntime", "rich", "tensorflow",
    "tf2onnx", "tflite_runtime", "torch", "trm_export", "typer",
}  # fmt: skip
BUDGET = 0.2  # seconds of processor time beyond numpy


def fresh(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a statement adds to a fresh interpreter."""
    code = f"""
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps(sorted({{name.partition('.')[0] for name in set(sys.modules) - before}})))
"""
    return set(json.loads(fresh(code)))


def outside_the_standard_library(packages: set[str]) -> set[str]:
    return packages - set(sys.stdlib_module_names) - {"trm_runtime"}


LIGHT = (
    "", ".contract", ".errors", ".verify", ".extras", ".cores", ".doctor", ".__main__", ".failures",
    ".command_line",
    ".drivers.onnx_file", ".drivers.onnx_wire", ".drivers.saved_model_folder",
    ".drivers.quiet", ".drivers.tflite_file", ".digest", ".streams", ".file_kinds",
    ".message_text", ".display",
)  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_these_need_the_standard_library_only(module: str) -> None:
    assert outside_the_standard_library(loaded_by(f"import trm_runtime{module}")) == set()


def test_everything_else_needs_numpy_only() -> None:
    names = ", ".join(name for name in trm_runtime.__all__ if name != "__version__")
    packages = loaded_by(f"from trm_runtime import {names}; import trm_runtime.puzzles")
    beyond = packages - loaded_by("import numpy")
    assert outside_the_standard_library(beyond) == set()
    assert "numpy" in packages


def test_no_module_loads_an_engine_or_the_host() -> None:
    package = Path(trm_runtime.__file__).parent
    files = [path.relative_to(package).with_suffix("") for path in package.rglob("*.py")]
    modules = {"trm_runtime." + ".".join(path.parts) for path in files}
    modules = {name.removesuffix(".__init__") for name in modules}
    assert len(modules) > 10
    assert loaded_by("import " + ", ".join(sorted(modules))) & HEAVY == set()


def test_modules_form_no_circle_not_even_for_typing() -> None:
    package = Path(trm_runtime.__file__).parent
    names = {
        ".".join(("trm_runtime", *file.relative_to(package).with_suffix("").parts)): file
        for file in package.rglob("*.py")
        if file.name != "__init__.py"
    }
    graph = {name: named_in(file) & names.keys() for name, file in names.items()}
    assert "trm_runtime.tensors" in graph["trm_runtime.contract_rules"]
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which lists the circle


def named_in(file: Path) -> set[str]:
    """What a module imports, at any depth of its code, as modules or as names in them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_exported_name_is_there() -> None:
    for name in trm_runtime.__all__:
        assert getattr(trm_runtime, name) is not None
    assert set(trm_runtime.__all__) <= set(dir(trm_runtime))
    with pytest.raises(AttributeError, match="has no attribute 'solver'"):
        trm_runtime.solver  # noqa: B018


def test_the_import_is_quick() -> None:
    names = ", ".join(name for name in trm_runtime.__all__ if name != "__version__")
    code = f"""
import time, numpy
start = time.process_time()
from trm_runtime import {names}
print(time.process_time() - start)
"""
    assert min(float(fresh(code)) for _ in range(5)) < BUDGET
