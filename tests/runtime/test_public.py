"""The public names of the device package: listed, documented, typed, and no module is shadowed."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import trm_runtime
from trm_runtime import parity

PACKAGES = [trm_runtime, parity]


def public(package: ModuleType) -> dict[str, Any]:
    """What a package offers beside its modules."""
    found = {name: getattr(package, name) for name in package.__all__ if name[0] != "_"}
    assert found
    return found


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """A function, or the public functions and properties that a class itself defines."""
    if inspect.isfunction(value):
        yield value.__name__, value
    elif inspect.isclass(value):
        for name, member in vars(value).items():
            inner = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(inner):
                yield f"{value.__name__}.{name}", inner


def untyped(function: Any) -> list[str]:
    """Parameters without a type; `return`."""
    signature = inspect.signature(function)
    empty = inspect.Parameter.empty
    names = [n for n, p in signature.parameters.items() if p.annotation is empty]
    return [name for name in names if name not in ("self", "cls")] + (
        ["return"] if signature.return_annotation is empty else []
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_listed(package: ModuleType) -> None:
    public(package)
    names = {
        name for name, value in vars(package).items()
        if getattr(value, "__module__", "").startswith(package.__name__) and name[0] != "_"
    }  # fmt: skip
    assert names <= set(package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(package: ModuleType) -> None:
    assert package.__doc__
    for name, value in public(package).items():
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), name
            assert not value.__doc__.startswith(f"{name}("), f"{name}: made by dataclass"
        for place, member in members(value):
            assert (member.__doc__ or "").strip(), place


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_typed(package: ModuleType) -> None:
    for value in public(package).values():
        for place, member in members(value):
            assert untyped(member) == [], place
        if dataclasses.is_dataclass(value):
            assert set(typing.get_type_hints(value)) >= {f.name for f in dataclasses.fields(value)}


@pytest.mark.parametrize(
    ("package", "some"),
    [(trm_runtime, {"loop", "open", "puzzles"}), (parity, {"ladder", "recorder", "golden"})],
)
def test_no_name_stands_for_a_module_as_well(package: ModuleType, some: set[str]) -> None:
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert modules >= some
    assert modules & set(package.__all__) == set()


def test_the_public_way_from_a_file_to_answers() -> None:
    needed = {"open_runner", "read_puzzles", "read_identifiers", "solve", "write", "Solution"}
    assert needed <= set(trm_runtime.__all__)
