"""Nested dictionaries and lists, such as a carry: paths of their leaves, and short names.

Knows nothing about tensors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
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


def short_names(paths: Iterable[Path], taken: Container[str] = ()) -> dict[Path, str]:
    """A name for each path: its last part, or as many more parts as make it unique.

    A name consists of letters, digits and underscores, and is none of ``taken``.
    """
    depth = dict.fromkeys(paths, 1)
    while True:
        named = {path: _identifier(path[-count:]) for path, count in depth.items()}
        used = Counter(named.values())
        ambiguous = [
            path
            for path, name in named.items()
            if (used[name] > 1 or name in taken) and depth[path] < len(path)
        ]
        if not ambiguous:
            return _numbered(named, taken)
        depth.update((path, depth[path] + 1) for path in ambiguous)


def _items(nest: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(nest, Mapping):
        return list(nest.items())
    return list(enumerate(nest)) if isinstance(nest, (list, tuple)) else None


def _identifier(parts: Path) -> str:
    return re.sub(r"\W", "_", "_".join(parts), flags=re.ASCII)


def _numbered(named: Mapping[Path, str], taken: Container[str]) -> dict[Path, str]:
    """Complete paths that still share a name get numbers."""
    unique: dict[Path, str] = {}
    for path, name in named.items():
        number, candidate = 1, name
        while candidate in taken or candidate in unique.values():
            number += 1
            candidate = f"{name}_{number}"
        unique[path] = candidate
    return unique
