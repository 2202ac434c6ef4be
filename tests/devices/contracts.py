"""Contracts and changes of them, for readers that must agree with that of `trm_runtime`."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from tests.runtime.fakes import make_contract
from tests.runtime.test_block import block_contract
from tests.runtime.test_loop_graph import loop_contract
from trm_runtime.contract import ContractError, StepContract

CONTRACTS: Mapping[str, StepContract] = {
    "identifiers": make_contract(num_puzzle_identifiers=3),
    "fixed": make_contract(batch=2),
    "loop": loop_contract(),
    "block": block_contract(),
}

_VALUES: list[Any] = [
    None, True, False, 0, 1, 2, -1, 1.0, 1.5, 1e308, 127, -129, 2**31, "", "x", "step", "loop",
    "block", "int8", "float32", "bool", "q_halt", "é", "a\nb", "\u200b", [], {}, [None], [None, 81],
    [1, 2, 3], {"a": 1}, "constructor", "__proto__",
]  # fmt: skip
_SIGNS = '{}[]",:0123456789.eE+-nultrefas\\ '


def changed(contract: StepContract) -> Iterator[str]:
    """Its text with one value replaced, removed or added, and with one character changed."""
    document = json.loads(contract.to_json())
    yield json.dumps(document)
    for *path, last in _places(document):
        for value in (*_VALUES, ...):
            copied = copy.deepcopy(document)
            parent = copied
            for key in path:
                parent = parent[key]
            if value is ...:
                del parent[last]
            else:
                parent[last] = value
            yield json.dumps(copied)
            if isinstance(parent, dict) and value is None:
                yield json.dumps({**copied, "more": 1})
                yield json.dumps({**copied, "__proto__": 1})
    draw, text = random.Random(0), json.dumps(document)
    for _ in range(500):
        at = draw.randrange(len(text))
        yield text[:at] + draw.choice(["", *_SIGNS]) + text[at + draw.randrange(2) :]


def accepted(text: str) -> bool:
    """Whether `trm_runtime` reads a contract."""
    try:
        StepContract.from_json(text)
    except ContractError:
        return False
    return True


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield (*at, key)
        yield from _places(value[key], (*at, key))
