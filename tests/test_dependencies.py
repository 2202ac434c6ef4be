"""What is imported is declared, what is declared is imported, and both versions go together."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trm_export
import trm_runtime
from trm_runtime.drivers.litert import ENGINES
from trm_runtime.file_kinds import KINDS

ROOT = Path(__file__).parents[1]
OURS = {"trm_export", "trm_runtime"}
PACKAGES = {"absl": "absl-py", "google": "protobuf", "yaml": "pyyaml"}  # named otherwise
PROJECTS = [
    (ROOT / "pyproject.toml", Path(trm_export.__file__).parent),
    (ROOT / "runtimes" / "pyproject.toml", Path(trm_runtime.__file__).parent),
]
NOT_IMPORTED = {"trm-runtime", "pyopenssl"}  # by the name of a package; by model-signing
TOOLS = {"dev"}  # extras that no module needs


def project(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return found


def distribution(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def declared(path: Path) -> set[str]:
    """The distributions that the package itself or one of its extras needs."""
    found = project(path)
    extras = found["optional-dependencies"].items()
    needs = [*found["dependencies"], *(x for name, xs in extras if name not in TOOLS for x in xs)]
    return {distribution(need) for need in needs}


def named(node: ast.AST) -> Iterator[str]:
    """The modules that an import, or a call of `load_extra`, names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module)
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_extra":
        yield from (str(x.value) for x in node.args[:1] if isinstance(x, ast.Constant))


def imported(package: Path) -> set[str]:
    """The distributions of what the modules of a package import, at any depth of the code."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in package.rglob("*.py")]
    modules = {name for tree in trees for node in ast.walk(tree) for name in named(node)}
    if package.name == "trm_runtime":
        modules |= set(ENGINES)
    packages = {name.partition(".")[0] for name in modules} - OURS - sys.stdlib_module_names
    return {PACKAGES.get(name, name.replace("_", "-")) for name in packages}


@pytest.mark.parametrize(("file", "package"), PROJECTS)
def test_imports_and_declared_dependencies_are_the_same(file: Path, package: Path) -> None:
    assert imported(package) == declared(file) - NOT_IMPORTED


def test_the_host_needs_the_device_of_its_own_version() -> None:
    needs = project(ROOT / "pyproject.toml")["dependencies"]
    assert [need for need in needs if distribution(need) == "trm-runtime"] == [
        f"trm-runtime=={trm_runtime.__version__}"
    ]
    assert trm_export.__version__ == trm_runtime.__version__


def test_extras_bring_the_engines_that_they_are_named_for() -> None:
    extras = project(ROOT / "runtimes" / "pyproject.toml")["optional-dependencies"]
    for kind in KINDS.values():
        for engine in kind.engines:
            assert engine.name in {distribution(need) for need in extras[engine.extra]}
