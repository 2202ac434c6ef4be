"""The rules of a step contract: the tensors that every step has, and the valid values.

The functions take plain values and return a line for each broken rule. The tensors are a table,
from which `contract_schema` also makes the JSON Schema. Standard library only. The rules of a
single tensor are in `tensors`; the class of the contract, in `contract`, is not known here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from trm_runtime.tensors import AnySpec, CarrySpec, Shape, TensorSpec, shape_text

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, SCHEMA_VERSION)
"""Version 1 has the same keys; its TFLite files have no checksum of the contract."""

HALT_KINDS = ("q_halt", "q_halt_minus_q_continue")
GRANULARITIES = ("step", "loop", "block")
SHA256 = "[0-9a-f]{64}"  # a pattern of the complete text

Kind = tuple[str, str]
"""A dtype, and a letter for each axis: B the batch, S the sequence, V the vocabulary, W a width."""

INPUTS: Mapping[str, Kind] = {
    "inputs": ("int32", "BS"),
    "puzzle_identifiers": ("int32", "B"),
    "puzzle_embedding": ("float32", "BW"),
}
"""All possible inputs: `inputs` always, and at most one of the others."""

HALTED = "halted"
_CARRY: Mapping[str, Kind] = {"steps": ("int32", "B"), HALTED: ("bool", "B")}
_COUNTER: Mapping[str, Kind] = {"passes": ("int32", "B")}  # of a block
_HEADS: Mapping[str, Kind] = {
    "logits": ("float32", "BSV"),
    "q_halt_logits": ("float32", "B"),
    "q_continue_logits": ("float32", "B"),
}
_RESULTS: Mapping[str, Kind] = {"answers": ("int32", "BS"), "steps": ("int32", "B")}  # of a loop

FILLS: Mapping[str, tuple[bool | int, str]] = {
    HALTED: (True, "so that the first step resets every row"),
    "passes": (0, "so that the first call begins a step"),
}
"""The required fill of these tensors, and the reason."""


def required_carry(granularity: str, inputs: Collection[str]) -> dict[str, Kind]:
    """The carry that such a contract must have; all other carry is the model's own."""
    if granularity == "loop":
        return {}
    current = {f"current_{name}": INPUTS[name] for name in INPUTS if name in inputs}
    return {**_CARRY, **current, **(_COUNTER if granularity == "block" else {})}


def required_outputs(granularity: str) -> dict[str, Kind]:
    """The outputs that such a contract must have."""
    return {**_HEADS, **(_RESULTS if granularity == "loop" else {})}


def size_of(specs: Sequence[AnySpec], name: str, axis: int) -> int:
    """The size of an axis of the tensor of that name; 0 if there is none."""
    shape = next((spec.shape for spec in specs if spec.name == name), ())
    return (shape[axis] if len(shape) > axis else None) or 0


def structure_problems(
    granularity: str,
    batch: int | None,
    inputs: Sequence[TensorSpec],
    carry: Sequence[CarrySpec],
    outputs: Sequence[TensorSpec],
) -> list[str]:
    """Required tensors that are missing, unknown, or of the wrong dtype or shape."""
    names = [spec.name for spec in inputs]
    sizes = {
        "B": batch,
        "S": size_of(inputs, "inputs", 1),
        "V": size_of(outputs, "logits", 2),
        "W": size_of(inputs, "puzzle_embedding", 1) or 1,
    }
    given = {name: kind for name, kind in INPUTS.items() if name in names or name == "inputs"}
    problems = [
        f"{name}: unknown input; expected one of {', '.join(INPUTS)}"
        for name in names
        if name not in INPUTS
    ]
    problems += _expect("input", inputs, given, sizes)
    if granularity == "loop":
        problems += [f"{spec.name}: a loop has no carry" for spec in carry]
    problems += _expect("carry", carry, required_carry(granularity, names), sizes)
    problems += _expect("output", outputs, required_outputs(granularity), sizes)
    return problems + _fill_problems(carry)


def _fill_problems(carry: Sequence[CarrySpec]) -> list[str]:
    problems = []
    for spec in carry:
        wanted, why = FILLS.get(spec.name, (spec.fill, ""))
        if spec.fill != wanted:
            problems.append(f"{spec.name}: fill must be {str(wanted).lower()}, {why}")
    return problems


def _expect(
    role: str,
    specs: Sequence[AnySpec],
    wanted: Mapping[str, Kind],
    sizes: Mapping[str, int | None],
) -> list[str]:
    found = {spec.name: spec for spec in specs}
    problems = []
    for name, (dtype, axes) in wanted.items():
        shape: Shape = tuple(sizes[axis] for axis in axes)
        if name not in found:
            problems.append(f"{name}: the contract has no such {role} tensor")
        elif found[name].dtype not in dtypes_for(role, dtype) or found[name].shape != shape:
            got = f"{found[name].dtype} {shape_text(found[name].shape)}"
            problems.append(f"{name}: expected {dtype} {shape_text(shape)}, got {got}")
    return problems


def dtypes_for(role: str, dtype: str) -> tuple[str, ...]:
    """The dtypes that such a tensor may have: float32 may be int8 and bool int32, but no input."""
    others = {"float32": ("int8",), "bool": ("int32",)}
    return (dtype,) if role == "input" else (dtype, *others.get(dtype, ()))


def number_problems(granularity: str, max_steps: int, passes: int, schema: int) -> list[str]:
    """Broken rules of the single numbers, and of the granularity."""
    problems = []
    if schema != SCHEMA_VERSION:
        problems.append(f"schema_version: expected {SCHEMA_VERSION}, got {schema}")
    if granularity not in GRANULARITIES:
        problems.append(f"granularity: {granularity!r} is not one of {', '.join(GRANULARITIES)}")
    if max_steps < 1:
        problems.append(f"max_steps: expected 1 or more, got {max_steps}")
    is_block = granularity == "block"
    if passes < 1 or (passes > 1 and not is_block):
        wanted = "1 or more" if is_block else f"1 in a {granularity}"
        problems.append(f"passes: expected {wanted}, got {passes}")
    return problems


def halt_problems(
    granularity: str, kind: str, threshold: float, trained: float | None, settled: float | None
) -> list[str]:
    """Broken rules of the halt rule."""
    problems = []
    if kind not in HALT_KINDS:
        problems.append(f"halt.kind: {kind!r} is not one of {', '.join(HALT_KINDS)}")
    if not math.isfinite(threshold):
        problems.append(f"halt.threshold: expected a finite number, got {threshold}")
    if trained is not None and not math.isfinite(trained):
        problems.append(f"halt.trained: expected a finite number, got {trained}")
    if trained is not None and granularity == "loop":
        problems.append("halt.trained: expected null, because a loop halts by its own threshold")
    if settled is not None and not (math.isfinite(settled) and settled > 0):
        problems.append(f"halt.settled: expected a finite number above 0, got {settled}")
    if settled is not None and granularity == "loop":
        problems.append("halt.settled: expected null, because no driver sees the states of a loop")
    return problems


def identifier_problems(
    inputs: Sequence[TensorSpec], count: int | None, table: str | None
) -> list[str]:
    """Broken rules of the puzzle identifiers, their number and their table."""
    names = {spec.name for spec in inputs}
    takes_rows = "puzzle_embedding" in names
    problems = []
    if takes_rows and "puzzle_identifiers" in names:
        problems.append("puzzle_embedding: expected this input or puzzle_identifiers, got both")
    if takes_rows and not re.fullmatch(SHA256, table or ""):
        problems.append(f"puzzle_table_sha256: expected 64 hexadecimal digits, got {table!r:.80}")
    if not takes_rows and table is not None:
        problems.append("puzzle_table_sha256: expected null without the input puzzle_embedding")
    takes_them = takes_rows or "puzzle_identifiers" in names
    if takes_them and (count is None or count < 1):
        problems.append(f"num_puzzle_identifiers: expected 1 or more with that input, got {count}")
    if not takes_them and count is not None:
        problems.append(f"num_puzzle_identifiers: expected null without that input, got {count}")
    return problems


def text_problems(texts: Mapping[str, str]) -> list[str]:
    """Texts, by the path of their key, with characters that a terminal would act on."""
    return [
        f"{path}: expected printable characters, got {text!r:.80}"
        for path, text in texts.items()
        if not text.isprintable()
    ]


def alphabet_problems(alphabet: Sequence[str] | None, vocab: int) -> list[str]:
    """Broken rules of the alphabet of `vocab` token ids."""
    if alphabet is None:
        return []
    problems = []
    if vocab and len(alphabet) != vocab:
        problems.append(f"alphabet: expected {vocab} entries, one a token id, got {len(alphabet)}")
    characters = "".join(alphabet)
    twice = sorted(c for c, count in Counter(characters).items() if count > 1)
    problems += [f"alphabet: {c!r} is in more than one entry" for c in twice]
    bad = sorted({c for c in characters if not c.isprintable()})
    return problems + [f"alphabet: {c!r} is not a printable character" for c in bad]
