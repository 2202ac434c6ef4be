"""Nests of dictionaries and lists, such as a carry: their paths, and short names for these.

Knows nothing about tensors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

Path = tuple[str, ...]


def flatten(nest: Any) -> dict[Path, Any]:
    """Every leaf by its path, ``("inner_carry", "z_H")`` say; None is no leaf."""
    if nest is None:
        return {}
    items = _items(nest)
    if items is None:
        return {(): nest}
    return {
        (str(key), *path): leaf for key, value in items for path, leaf in flatten(value).items()
    }


def rebuild(template: Any, leaves: Mapping[Path, Any], path: Path = ()) -> Any:
    """A nest like the template, with these leaves in their places."""
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
    """A name for each path: its last part, or as many more as tell it from the others.

    A name is a word of letters, digits and underscores, and none of ``taken``.
    """
    depth = dict.fromkeys(paths, 1)
    while True:
        named = {path: _word(path[-count:]) for path, count in depth.items()}
        used = Counter(named.values())
        vague = [
            path
            for path, name in named.items()
            if (used[name] > 1 or name in taken) and depth[path] < len(path)
        ]
        if not vague:
            return _numbered(named, taken)
        depth.update((path, depth[path] + 1) for path in vague)


def _items(nest: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(nest, Mapping):
        return list(nest.items())
    return list(enumerate(nest)) if isinstance(nest, (list, tuple)) else None


def _word(parts: Path) -> str:
    return re.sub(r"\W", "_", "_".join(parts), flags=re.ASCII)


def _numbered(named: Mapping[Path, str], taken: Container[str]) -> dict[Path, str]:
    """Whole paths that still share a name get numbers."""
    found: dict[Path, str] = {}
    for path, name in named.items():
        number, word = 1, name
        while word in taken or word in found.values():
            number += 1
            word = f"{name}_{number}"
        found[path] = word
    return found
