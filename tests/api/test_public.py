"""The public names of `trm_export`: listed, documented, typed, and no module is shadowed."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trm_export as te


def functions(value: Any) -> Iterator[Any]:
    """A function, or the public functions and properties that a class itself defines."""
    if inspect.isfunction(value):
        yield value
    elif inspect.isclass(value):
        for name, member in vars(value).items():
            inner = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(inner):
                yield inner


def public() -> dict[str, Any]:
    return {name: getattr(te, name) for name in te.__all__ if name not in ("TOOL", "__version__")}


def test_what_a_type_checker_sees_is_what_there_is() -> None:
    tree = ast.parse(Path(te.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.If)
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert seen == set(public())
    assert list(te.__all__) == sorted(te.__all__, key=_as_ruff_sorts)
    assert set(te.__all__) <= set(dir(te))


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    constant, kind = name.isupper(), name[0].isupper()
    return (0 if constant else 1 if kind else 2), name


@pytest.mark.parametrize("name", sorted(public()))
def test_every_public_name_is_documented_and_typed(name: str) -> None:
    value = public()[name]
    assert (value.__doc__ or "").strip()
    assert not value.__doc__.startswith(f"{name}(")  # what `dataclass` makes
    for function in functions(value):
        place = f"{name}.{function.__name__}"
        assert (function.__doc__ or "").strip(), place
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, place
        for parameter in signature.parameters.values():
            known = parameter.name in ("self", "cls") or parameter.annotation is not parameter.empty
            assert known, f"{place}: {parameter.name}"


def test_no_public_name_stands_for_a_module_as_well() -> None:
    modules = {module.name for module in pkgutil.iter_modules(te.__path__)}
    assert {"api", "exporters", "errors"} <= modules
    assert not modules & set(te.__all__)


def test_errors_are_there_without_a_further_import() -> None:
    assert te.errors.UsageError.exit_code == 2
