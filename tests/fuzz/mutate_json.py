"""Changes of a JSON document: values, keys, depth, and text that is nearly JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.mutate_bytes import damaged

_TEXTS = ("", "\ud800", "\0", "\x1b[2J", "a\nb", "é" * 3, "x" * 3000, "../../up", "1e5", "null")
_NUMBERS = (
    *(0, -1, 1, 2, 2**31 - 1, 2**31, -(2**31) - 1, 2**63, 10**9, 10**12, 10**400),
    *(0.5, -0.0, 1e300, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
)
_OTHERS = (None, True, False, [], {}, [[]], [None], {"": 0})
_DEEP = 2000
_MOST_NUDGED = 1e300

Place = tuple[Any, Any]  # a list or an object, and the index or key in it


def changed_text(rng: Random, data: bytes) -> bytes:
    """The text of another document; sometimes its bytes are damaged, too."""
    try:
        text = changed(rng, json.loads(data))
    except (RecursionError, ValueError):  # an earlier change damaged it
        return damaged(rng, data)
    return damaged(rng, text) if rng.random() < 0.15 else text


def changed(rng: Random, value: Any) -> bytes:
    """A JSON text of a value with one to three changes; it may have NaN, and keys given twice."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        value = _change(rng, value)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8)
    if rng.random() < 0.03:
        at = rng.choice([i for i, character in enumerate(text) if character in "[{:"] or [0])
        mark = rng.choice(("[", '{"a":'))
        text = text[: at + 1] + mark * _DEEP + text[at + 1 :]
    if rng.random() < 0.03 and text.startswith("{"):
        text = "{" + text[1:-1] + "," + text[1:]
    return text.encode("utf-8", "surrogatepass")


def odd_value(rng: Random) -> Any:
    """A value that a reader may not expect."""
    return copy.deepcopy(rng.choice(rng.choice((_TEXTS, _NUMBERS, _OTHERS))))


def _change(rng: Random, value: Any) -> Any:
    places = list(_places(value))
    if not places:
        return odd_value(rng)
    parent, key = rng.choice(places)
    rng.choice(_CHANGES)(rng, parent, key)
    return value


def _places(value: Any) -> list[Place]:
    waiting, found = [value], []
    while waiting:
        one = waiting.pop()
        keys = one if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    return found


def _replace(rng: Random, parent: Any, key: Any) -> None:
    parent[key] = odd_value(rng)


def _nudge(rng: Random, parent: Any, key: Any) -> None:
    """A number is a neighbour or a multiple; a text is longer or shorter."""
    old = parent[key]
    if isinstance(old, (int, float)) and abs(old) < _MOST_NUDGED:
        parent[key] = rng.choice((old + 1, old - 1, old * 10**6, -old, old / 3, str(old)))
    elif isinstance(old, str):
        parent[key] = rng.choice((old[:-1], old + "x", old.upper(), rng.choice(_TEXTS) + old))
    else:
        _replace(rng, parent, key)


def _remove(rng: Random, parent: Any, key: Any) -> None:
    del parent[key]


def _rename(rng: Random, parent: Any, key: Any) -> None:
    if isinstance(parent, dict):
        parent[rng.choice((*_TEXTS, *parent))] = parent.pop(key)
    else:
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(parent[key]))


def _repeat(rng: Random, parent: Any, key: Any) -> None:
    if isinstance(parent[key], (list, str)):
        parent[key] = parent[key] * rng.choice((2, 3, 100))
    else:
        parent[key] = [copy.deepcopy(parent[key])]


_CHANGES: tuple[Callable[[Random, Any, Any], None], ...] = (
    _replace, _replace, _nudge, _nudge, _remove, _rename, _repeat,
)  # fmt: skip
