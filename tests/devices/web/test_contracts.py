"""The browser runtime accepts the contracts that `trm_runtime` accepts, and no others."""

from __future__ import annotations

import copy
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.devices.web.conftest import WEB
from tests.runtime.fakes import make_contract
from tests.runtime.test_block import block_contract
from tests.runtime.test_loop_graph import loop_contract
from trm_runtime.contract import ContractError, StepContract

VALUES: list[Any] = [
    None, True, False, 0, 1, 2, -1, 1.0, 1.5, 1e308, 127, -129, 2**31, "", "x", "step", "loop",
    "block", "int8", "float32", "bool", "q_halt", "é", "a\nb", "\u200b", [], {}, [None], [None, 81],
    [1, 2, 3], {"a": 1}, "constructor", "__proto__",
]  # fmt: skip
SIGNS = '{}[]",:0123456789.eE+-nultrefas\\ '
READ = """
import { readFileSync } from "node:fs";
import { parseContract, TrmError } from "./src/index.js";
const accepts = (text) => {
  try {
    return Boolean(parseContract(text));
  } catch (error) {
    return error instanceof TrmError ? false : error.stack;
  }
};
console.log(JSON.stringify(JSON.parse(readFileSync(process.argv[1], "utf8")).map(accepts)));
"""


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield (*at, key)
        yield from places(value[key], (*at, key))


def changed(document: Any) -> Iterator[str]:
    """The document with one value replaced, removed or added, and with one character changed."""
    yield json.dumps(document)
    for *path, last in places(document):
        for value in (*VALUES, ...):
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
        yield text[:at] + draw.choice(["", *SIGNS]) + text[at + draw.randrange(2) :]


def accepted(text: str) -> bool:
    try:
        StepContract.from_json(text)
    except ContractError:
        return False
    return True


@pytest.mark.parametrize(
    "contract",
    [
        make_contract(num_puzzle_identifiers=3),
        make_contract(batch=2),
        loop_contract(),
        block_contract(),
    ],
    ids=["identifiers", "fixed", "loop", "block"],
)
def test_both_readers_accept_the_same(contract: StepContract, node: str, tmp_path: Path) -> None:
    texts = list(changed(contract.document()))
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    script = [node, "--input-type=module", "-e", READ, str(tmp_path / "texts.json")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=WEB, check=True)
    wanted, found = [accepted(text) for text in texts], json.loads(done.stdout)
    assert len(texts) > 1500
    assert 0 < sum(wanted) < len(wanted)
    differing = [texts[i] for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b]
    assert differing == []
