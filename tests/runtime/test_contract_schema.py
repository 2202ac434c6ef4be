"""The JSON Schema says what the reader says, but for the rules that docs/contract.md has in words.

Contracts of every kind are changed in every place; the reader accepts none that the schema refuses,
and refuses none that the schema accepts but for one of those rules.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from tests.runtime.fakes import SEQ, WIDTH, make_contract
from trm_runtime import CarrySpec, ContractError, HaltRule, StepContract, Symmetries, TensorSpec
from trm_runtime.confidence import Confidence
from trm_runtime.contract_schema import SCHEMA_FILE, contract_schema, schema_text
from trm_runtime.granularity import as_block, as_loop

VALID = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def with_table() -> StepContract:
    """The toy contract with the rows of a puzzle table for an input."""
    step = make_contract()
    held = CarrySpec(
        "current_puzzle_embedding", "current_puzzle_embedding_next", "float32", (None, 5), 0.0
    )
    return replace(
        step,
        inputs=(*step.inputs, TensorSpec("puzzle_embedding", "float32", (None, 5))),
        carry=(*step.carry, held),
        num_puzzle_identifiers=7,
        puzzle_table_sha256="0" * 64,
    )


def with_integers() -> StepContract:
    """The toy contract with int8 in the place of float32."""
    step = make_contract()
    states = (
        CarrySpec(name, f"{name}_next", "int8", (None, SEQ, WIDTH), 3, 0.5, 3)
        for name in ("z_H", "z_L")
    )
    heads = (TensorSpec(spec.name, "int8", spec.shape, 0.25, -128) for spec in step.outputs)
    return replace(step, carry=(*states, *step.carry[2:]), outputs=tuple(heads))


CONTRACTS = {
    "step": make_contract(),
    "fixed batch": make_contract(batch=3),
    "no alphabet": make_contract(alphabet=None),
    "identifiers": make_contract(num_puzzle_identifiers=7),
    "table": with_table(),
    "tuned": make_contract(halt=HaltRule("q_halt_minus_q_continue", 2.5, trained=0.0)),
    "settled": make_contract(halt=HaltRule("q_halt", 2.5, settled=0.125)),
    "confidence": make_contract(confidence=Confidence(-1.0, 0.5, -0.25, 2.0, 400, 8)),
    "int8": with_integers(),
    "symmetries": make_contract(
        symmetries=Symmetries(((1, 0, 3, 2), (0, 2, 1, 3)), ((2, 3, 4, 5),))
    ),
    "loop": as_loop(make_contract(num_puzzle_identifiers=7)),
    "block": as_block(make_contract(batch=2), 4),
}
WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 127, 128, 2**31, 0.5, 1.0, 1e39, 1e301, "", "x", "0",
    "int8", "int32", "float32", "bool", "q_halt", "loop", "block", "f" * 64, [], {}, [None],
    [None, 4], [3, 4], [None, 0], ["x"],
)  # fmt: skip

SHARE = 5  # one in so many, and others of each contract: all of them take a minute

IN_WORDS = (
    "axis 0 is",  # another number of rows than the batch
    "more than one tensor has this name",
    "next must be",
    r"expected \w+ \(.*\), got \w+ \(",  # of the right dtype and rank, with other sizes
    r"alphabet: expected \d+ entries",
    "is in more than one entry",
    "is not a printable character",
    r"(integer( or null)?, got number|expected (1|1 or 2), got) \d+(\.0|e\+\d+)$",  # 8.0 and 8e2
    r"expected integers or null, got .*\d(\.0|e\+\d+)",
    "expected a permutation of 0 to",
    "expected 2 or more token ids of 0 to",
    "is there twice",
    r"expected integers, got list .*\d(\.0|e\+\d+)",
)


def read_problems(value: Any) -> tuple[str, ...]:
    """What the reader has against a contract."""
    try:
        StepContract.from_json(json.dumps(value))
    except ContractError as error:
        return error.problems or (error.summary,)
    return ()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to everything in a document, deepest last."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from places(inner, (*path, key))


def edited(document: Any, path: tuple[Any, ...], edit: Any) -> Any:
    """The document after `edit(holder, key)` at that place; what does not lead there is shared."""
    holder = found = copy.copy(document)
    for key in path[:-1]:
        holder[key] = copy.copy(holder[key])
        holder = holder[key]
    edit(holder, path[-1])
    return found


def mutations(document: Any) -> Iterator[Any]:
    """The document with a key or an item gone, with one too many, and with other values."""
    for path in places(document):
        if not path:
            yield {**document, "colour": "red"}
            continue
        yield edited(document, path, lambda holder, key: holder.pop(key))
        yield edited(document, path, unknown)
        yield edited(document, path, doubled)
        for value in WRONG:
            yield edited(document, path, lambda holder, key, value=value: put(holder, key, value))


def put(holder: Any, key: Any, value: Any) -> None:
    holder[key] = value


def unknown(holder: Any, key: Any) -> None:
    if isinstance(holder[key], dict):
        holder[key] = {**holder[key], "colour": "red"}
    elif isinstance(holder, dict):
        holder[f"{key}_too"] = holder[key]


def doubled(holder: Any, key: Any) -> None:
    if isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))


def test_the_file_is_what_the_code_makes() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "run: python -m trm_runtime.contract_schema > runtimes/trm_runtime/contract.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(contract_schema())


def test_the_documented_command_prints_it() -> None:
    command = [sys.executable, "-m", "trm_runtime.contract_schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == schema_text()


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS.keys())
def test_a_contract_validates(contract: StepContract) -> None:
    VALID.validate(json.loads(contract.to_json()))


@pytest.mark.parametrize("name", CONTRACTS)
def test_schema_and_reader_refuse_the_same_but_for_the_rules_in_words(name: str) -> None:
    in_words = re.compile("|".join(IN_WORDS))
    seen, first = 0, list(CONTRACTS).index(name) % SHARE
    everything = mutations(json.loads(CONTRACTS[name].to_json()))
    for value in itertools.islice(everything, first, None, SHARE):
        problems, valid = read_problems(value), VALID.is_valid(value)
        seen += not valid
        if not problems:
            assert valid, (value, next(VALID.iter_errors(value)).message)
        elif valid:
            assert all(in_words.search(problem) for problem in problems), problems
    assert seen > 300


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(colour="red"),
        lambda v: v.pop("halt"),
        lambda v: v.update(max_steps="8"),
        lambda v: v.update(schema_version=3),
        lambda v: v["carry"].pop(3),
        lambda v: v["outputs"][0].pop("shape"),
        lambda v: v["halt"].update(kind="vibes"),
    ],
)
def test_these_are_refused_by_both(edit: Any) -> None:
    value = json.loads(make_contract().to_json())
    edit(value)
    assert read_problems(value)
    assert not VALID.is_valid(value)
