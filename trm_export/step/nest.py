"""Nested dictionaries and lists, such as a carry: paths of their leaves, and short names.

Knows nothing about tensors.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

Path = tuple[str, ...]


def flatten(nest: Any) -> dict[Path, Any]:
    """Every leaf by its path, such as ``("inner_carry", "z_H")``; None is no leaf."""
    if nest is None:
        return {}
    items = _items(nest)
    if items is None:
        return {(): nest}
    return {
        (str(key), *path): leaf for key, value in items for path, leaf in flatten(value).items()
    }


def rebuild(template: Any, leaves: Mapping[Path, Any], path: Path = ()) -> Any:
    """A copy of the template's structure with these leaves."""
    if template is None:
        return None
    items = _items(template)
    if items is None:
        return leaves[path]
    values = [(key, rebuild(value, leaves, (*path, str(key)))) for key, value in items]
    if isinstance(template, Mapping):
        return dict(values)
    make: Callable[..., Any] = type(template)
    parts = [value for _, value in values]
    return make(*parts) if hasattr(template, "_fields") else make(parts)


def short_names(
    paths: Iterable[Path], taken: Collection[str] = (), *, arguments: bool = False
) -> dict[Path, str]:
    """A name for each path: its last part, or as many more parts as make it unique.

    A name consists of letters, digits and underscores, and is none of ``taken``. ``arguments``: it
    is also the name of a traced function's argument. It begins with a letter and is no keyword,
    a number has the part before it, and no two differ by case alone.
    """
    same = str.lower if arguments else str
    depth = {path: _least_parts(path) if arguments else 1 for path in paths}
    used_up = {same(name) for name in taken}
    while True:
        named = {path: _identifier(path[-count:]) for path, count in depth.items()}
        if arguments:
            named = {path: _argument(name) for path, name in named.items()}
        used = Counter(map(same, named.values()))
        ambiguous = [
            path
            for path, name in named.items()
            if (used[same(name)] > 1 or same(name) in used_up) and depth[path] < len(path)
        ]
        if not ambiguous:
            return _numbered(named, used_up, same)
        depth.update((path, depth[path] + 1) for path in ambiguous)


def _items(nest: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(nest, Mapping):
        return list(nest.items())
    return list(enumerate(nest)) if isinstance(nest, (list, tuple)) else None


def _identifier(parts: Path) -> str:
    return re.sub(r"\W", "_", "_".join(parts), flags=re.ASCII)


def _least_parts(path: Path) -> int:
    """From the last part that is a name; the numbers after it are places in lists."""
    count = 1
    while count < len(path) and path[-count].isdigit():
        count += 1
    return count


def _argument(name: str) -> str:
    """The name as TensorFlow keeps it: it renames or refuses all others."""
    if name[:1].isalpha() and not keyword.iskeyword(name) and name != "self":
        return name
    return f"state_{name.lstrip('_')}"


def _numbered(
    named: Mapping[Path, str], taken: Collection[str], same: Callable[[str], str]
) -> dict[Path, str]:
    """Complete paths that still share a name get numbers."""
    unique: dict[Path, str] = {}
    used = set(taken)
    for path, name in named.items():
        number, candidate = 1, name
        while same(candidate) in used:
            number += 1
            candidate = f"{name}_{number}"
        unique[path] = candidate
        used.add(same(candidate))
    return unique
