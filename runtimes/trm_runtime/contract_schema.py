"""The JSON Schema of the step contract, made from its dataclasses and rules.

`contract.schema.json`, beside this file, is the output of `schema_text`. After a change of the
contract, write it again:

    python -m trm_runtime.contract_schema > runtimes/trm_runtime/contract.schema.json

A schema cannot compare two values with each other; docs/contract.md has the rules that compare
them. Standard library only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from trm_runtime.contract import (
    OPTIONAL_HALT_KEYS,
    OPTIONAL_KEYS,
    CarrySpec,
    Confidence,
    HaltRule,
    MadeBy,
    StepContract,
    Symmetries,
    TensorSpec,
)
from trm_runtime.contract_rules import (
    FILLS,
    GRANULARITIES,
    HALT_KINDS,
    INPUTS,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    SHA256,
    Kind,
    dtypes_for,
    required_carry,
    required_outputs,
)
from trm_runtime.strict_json import LARGEST
from trm_runtime.tensors import DTYPES, INT8, NEXT
from trm_runtime.tensors import FILLS as FILL_LIMITS
from trm_runtime.tensors_json import GRID_KEYS

SCHEMA_FILE = Path(__file__).with_name("contract.schema.json")
DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_NUMBER: Schema = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
_SIZE: Schema = {"type": "integer", "minimum": 1}
_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_ROWS: Schema = {**_SIZE, "type": ["integer", "null"]}

# The type of a field in a dataclass -> its schema.
_TYPES: Mapping[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": _NUMBER,
    "int | None": {"type": ["integer", "null"]},
    "float | None": {**_NUMBER, "type": ["number", "null"]},
    "str | None": {"type": ["string", "null"]},
    "tuple[str, ...] | None": {"type": ["array", "null"], "items": {"type": "string"}},
    "Mapping[str, str]": {"type": "object", "additionalProperties": {"type": "string"}},
    "Shape": {"type": "array", "minItems": 1, "prefixItems": [_ROWS], "items": _SIZE},
    "Scalar": {"type": ["boolean", "number"]},
    "tuple[tuple[int, ...], ...]": {"type": "array", "items": _IDS},
    "Symmetries | None": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Symmetries"}]},
    "Confidence | None": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Confidence"}]},
    "HaltRule": {"$ref": "#/$defs/HaltRule"},
    "MadeBy": {"$ref": "#/$defs/MadeBy"},
    "tuple[TensorSpec, ...]": {"type": "array", "items": {"$ref": "#/$defs/TensorSpec"}},
    "tuple[CarrySpec, ...]": {"type": "array", "items": {"$ref": "#/$defs/CarrySpec"}},
}

# The rules of single fields.
_LIMITS: Mapping[str, Schema] = {
    "schema_version": {"enum": list(READABLE_VERSIONS)},
    "batch": {"minimum": 1},
    "max_steps": {"minimum": 1},
    "passes": {"minimum": 1},
    "num_puzzle_identifiers": {"minimum": 1},
    "granularity": {"enum": list(GRANULARITIES)},
    "kind": {"enum": list(HALT_KINDS)},
    "settled": {"exclusiveMinimum": 0},
    "puzzles": {"minimum": 1},
    "tries": {"minimum": 1},
    "name": {"minLength": 1},
    "next": {"pattern": f"{NEXT}$"},
    "dtype": {"enum": list(DTYPES)},
    "scale": {"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST},
    "zero_point": {"type": "integer", "minimum": INT8[0], "maximum": INT8[1]},
}


def contract_schema() -> Schema:
    """The schema, of draft 2020-12, in JSON types."""
    whole = _object(StepContract, OPTIONAL_KEYS)
    whole["allOf"] = [*_batch_rules(), *_input_rules(), *_granularity_rules()]
    tensor, carry = (_object(kind, GRID_KEYS) for kind in (TensorSpec, CarrySpec))
    tensor["allOf"], carry["allOf"] = [_grid_rule()], [_grid_rule(), *_fill_rules()]
    parts = {
        "TensorSpec": tensor,
        "CarrySpec": carry,
        "HaltRule": _object(HaltRule, OPTIONAL_HALT_KEYS),
        "MadeBy": _object(MadeBy, ()),
        "Confidence": _object(Confidence, ()),
        "Symmetries": _object(Symmetries, ()),
    }
    about = "Made by trm_runtime.contract_schema. docs/contract.md has the meaning of the fields."
    head = {"$schema": DRAFT, "$id": f"urn:trm-export:step-contract:{SCHEMA_VERSION}"}
    return {**head, "title": "StepContract", "$comment": about, **whole, "$defs": parts}


def schema_text() -> str:
    """The schema as indented JSON text, ending in a newline."""
    return json.dumps(contract_schema(), indent=2) + "\n"


def _object(kind: Any, optional: Sequence[str]) -> Schema:
    """A dataclass: its fields are the keys; all except the optional ones are required."""
    keys = {
        field.name: {**_TYPES[str(field.type)], **_LIMITS.get(field.name, {})}
        for field in fields(kind)
    }
    return {
        "type": "object",
        "properties": keys,
        "required": [key for key in keys if key not in optional],
        "additionalProperties": False,
    }


def _grid_rule() -> Schema:
    is_int8 = {"properties": {"dtype": {"const": "int8"}}}
    neither = {"properties": dict.fromkeys(GRID_KEYS, False)}
    return {"if": is_int8, "then": {"required": list(GRID_KEYS)}, "else": neither}


def _fill_rules() -> Iterable[Schema]:
    """The fill is a value of the dtype; some tensors have a fixed fill."""
    names = {bool: "boolean", int: "integer", float: "number"}
    for dtype, (types, (least, most)) in FILL_LIMITS.items():
        fill: Schema = {"type": names[types[-1]]}
        if dtype != "bool":
            fill.update(minimum=least, maximum=most)
        yield _implies("dtype", dtype, {"properties": {"fill": fill}})
    for name, (value, _) in FILLS.items():
        values = [True, 1] if value is True else [value]  # JSON has two of them, Python one
        yield _implies("name", name, {"properties": {"fill": {"enum": values}}})


def _batch_rules() -> Iterable[Schema]:
    """Axis 0 of every tensor is null if the batch is null, and an integer if not."""
    dynamic, fixed = (
        {"items": {"properties": {"shape": {"prefixItems": [{"type": kind}]}}}}
        for kind in ("null", "integer")
    )
    lists = ("inputs", "carry", "outputs")
    yield {
        "if": {"properties": {"batch": {"type": "null"}}},
        "then": {"properties": dict.fromkeys(lists, dynamic)},
        "else": {"properties": dict.fromkeys(lists, fixed)},
    }


def _input_rules() -> Iterable[Schema]:
    """Only known inputs, with `inputs`; the keys that identifiers or embeddings require."""
    known = [_tensor("input", name, kind) for name, kind in INPUTS.items()]
    yield {"properties": {"inputs": {"items": {"anyOf": known}}}}
    yield _has("inputs", "input", {"inputs": INPUTS["inputs"]})
    identifiers, rows = (_has("inputs", "input", {name: INPUTS[name]}) for name in list(INPUTS)[1:])
    yield {"not": {"allOf": [identifiers, rows]}}
    yield {
        "if": {"anyOf": [identifiers, rows]},
        "then": {"properties": {"num_puzzle_identifiers": {"type": "integer"}}},
        "else": {"properties": {"num_puzzle_identifiers": {"type": "null"}}},
    }
    digest = {"type": "string", "pattern": f"^{SHA256}$"}
    table = "puzzle_table_sha256"
    yield {
        "if": rows,
        "then": {"properties": {table: digest}, "required": [table]},
        "else": {"properties": {table: {"type": "null"}}},
    }


def _granularity_rules() -> Iterable[Schema]:
    """The required tensors of each granularity, and what only one of them may have."""
    for granularity in GRANULARITIES:
        then = [
            _has("carry", "carry", required_carry(granularity, ("inputs",))),
            _has("outputs", "output", required_outputs(granularity)),
        ]
        if granularity == "loop":
            others = {key: {"type": "null"} for key in OPTIONAL_HALT_KEYS}
            empty: Schema = {"carry": {"maxItems": 0}, "halt": {"properties": others}}
            unmoved = {"properties": {"moved": {"const": 0}}}
            empty["confidence"] = {"if": {"type": "object"}, "then": unmoved}
            then = [{"properties": empty}, *then[1:]]
        else:
            then += [_current(name) for name in list(INPUTS)[1:]]
        if granularity != "block":
            then.append({"properties": {"passes": {"const": 1}}})
        yield _implies("granularity", granularity, {"allOf": then})


def _current(name: str) -> Schema:
    """The carry has the current value of that input, if it is an input."""
    given = _has("inputs", "input", {name: INPUTS[name]})
    return {"if": given, "then": _has("carry", "carry", {f"current_{name}": INPUTS[name]})}


def _has(key: str, role: str, tensors: Mapping[str, Kind]) -> Schema:
    """That list contains these tensors, and maybe others."""
    each = [
        {"properties": {key: {"contains": _tensor(role, name, kind)}}}
        for name, kind in tensors.items()
    ]
    return each[0] if len(each) == 1 else {"allOf": each}


def _tensor(role: str, name: str, kind: Kind) -> Schema:
    dtype, axes = kind
    shape = {"minItems": len(axes), "maxItems": len(axes)}
    dtypes = {"enum": list(dtypes_for(role, dtype))}
    return {"properties": {"name": {"const": name}, "dtype": dtypes, "shape": shape}}


def _implies(key: str, value: str, then: Schema) -> Schema:
    return {"if": {"properties": {key: {"const": value}}}, "then": then}


if __name__ == "__main__":
    sys.stdout.write(schema_text())
