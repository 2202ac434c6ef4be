"""The rules that make a step contract whole: tensors every step has, and values that make sense.

Standard library only. What a single tensor must obey is in `tensors`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trm_runtime.tensors import AnySpec, Shape, shape_text, tensor_problems

if TYPE_CHECKING:
    from trm_runtime.contract import StepContract

SCHEMA_VERSION = 1
HALT_KINDS = ("q_halt", "q_halt_minus_q_continue")
GRANULARITIES = ("step", "loop", "block")

_SHA256 = re.compile("[0-9a-f]{64}")

Wanted = Mapping[str, tuple[str, Shape]]  # name -> (dtype, shape)


def contract_problems(contract: StepContract) -> list[str]:
    """Every rule the contract breaks; empty for a sound one."""
    problems = tensor_problems(contract.batch, contract.inputs, contract.carry, contract.outputs)
    return problems + _structure_problems(contract) + _meaning_problems(contract)


def _structure_problems(contract: StepContract) -> list[str]:
    """Tensors that every step has: missing, unknown, or of the wrong dtype or shape."""
    batch, seq, vocab = contract.batch, contract.seq_len, contract.vocab_size
    known: dict[str, tuple[str, Shape]] = {
        "inputs": ("int32", (batch, seq)),
        "puzzle_identifiers": ("int32", (batch,)),
        "puzzle_embedding": ("float32", (batch, *_row(contract, "puzzle_embedding"))),
    }
    problems = [
        f"{spec.name}: not a known input; known are {', '.join(known)}"
        for spec in contract.inputs
        if spec.name not in known
    ]
    given = {spec.name: known[spec.name] for spec in contract.inputs if spec.name in known}
    problems += _expect("input", contract.inputs, {**given, "inputs": known["inputs"]})
    rows: tuple[str, Shape] = ("int32", (batch,))
    wanted: dict[str, tuple[str, Shape]] = {"steps": rows, "halted": ("bool", (batch,))}
    wanted.update({f"current_{name}": what for name, what in given.items()})
    heads: dict[str, tuple[str, Shape]] = {"logits": ("float32", (batch, seq, vocab))}
    heads["q_halt_logits"] = heads["q_continue_logits"] = ("float32", (batch,))
    if contract.granularity == "loop":
        problems += [f"{spec.name}: a loop carries nothing" for spec in contract.carry]
        problems += _expect("output", contract.outputs, {**heads, "answers": known["inputs"],
                                                         "steps": rows})  # fmt: skip
        return problems
    if contract.granularity == "block":
        wanted["passes"] = rows
    problems += _expect("carry", contract.carry, wanted)
    problems += _expect("output", contract.outputs, heads)
    fills = {spec.name: spec.fill for spec in contract.carry}
    if fills.get("halted", True) is not True:
        problems.append("halted: fill must be true, so that the first step resets every row")
    if fills.get("passes", 0) != 0:
        problems.append("passes: fill must be 0, so that the first call begins a step")
    return problems


def _row(contract: StepContract, name: str) -> Shape:
    """Sizes of one row of an input, the first of which is free to choose."""
    shape = next((spec.shape for spec in contract.inputs if spec.name == name), ())
    return (shape[1] if len(shape) > 1 else 1,)


def _expect(
    role: str, specs: Sequence[AnySpec], wanted: Mapping[str, tuple[str, Shape]]
) -> list[str]:
    found = {spec.name: spec for spec in specs}
    problems = []
    for name, (dtype, shape) in wanted.items():
        if name not in found:
            problems.append(f"{name}: the contract has no such {role} tensor")
        elif (_meant(found[name].dtype), found[name].shape) != (dtype, shape):
            got = f"{found[name].dtype} {shape_text(found[name].shape)}"
            problems.append(f"{name}: expected {dtype} {shape_text(shape)}, got {got}")
    return problems


def _meant(dtype: str) -> str:
    """An int8 tensor stands for real numbers."""
    return "float32" if dtype == "int8" else dtype


def _meaning_problems(contract: StepContract) -> list[str]:
    problems = []
    if contract.schema_version != SCHEMA_VERSION:
        got = contract.schema_version
        problems.append(f"schema_version: expected {SCHEMA_VERSION}, got {got}")
    if contract.granularity not in GRANULARITIES:
        problems.append(f"granularity: {contract.granularity!r} is not {', '.join(GRANULARITIES)}")
    if contract.halt.kind not in HALT_KINDS:
        problems.append(f"halt.kind: {contract.halt.kind!r} is not one of {', '.join(HALT_KINDS)}")
    problems += _halt_problems(contract)
    if contract.max_steps < 1:
        problems.append(f"max_steps: expected 1 or more, got {contract.max_steps}")
    least, most = (1, math.inf) if contract.granularity == "block" else (1, 1)
    if not least <= contract.passes <= most:
        wanted = "1 or more" if most > 1 else f"1 in a {contract.granularity}"
        problems.append(f"passes: expected {wanted}, got {contract.passes}")
    problems += _identifier_problems(contract)
    return problems + _alphabet_problems(contract.alphabet, contract.vocab_size)


def _halt_problems(contract: StepContract) -> list[str]:
    halt, problems = contract.halt, []
    if not math.isfinite(halt.threshold):
        problems.append(f"halt.threshold: expected a finite number, got {halt.threshold}")
    if halt.trained is not None and not math.isfinite(halt.trained):
        problems.append(f"halt.trained: expected a finite number, got {halt.trained}")
    if halt.trained is not None and contract.granularity == "loop":
        problems.append("halt.trained: given, but a loop halts by the threshold inside its graph")
    return problems


def _identifier_problems(contract: StepContract) -> list[str]:
    count, table = contract.num_puzzle_identifiers, contract.puzzle_table_sha256
    names = {spec.name for spec in contract.inputs}
    takes_rows = "puzzle_embedding" in names
    problems = []
    if takes_rows and "puzzle_identifiers" in names:
        problems.append("puzzle_embedding: stands in the place of puzzle_identifiers, not beside")
    if takes_rows and not _SHA256.fullmatch(table or ""):
        problems.append(f"puzzle_table_sha256: expected 64 hexadecimal digits, got {table!r:.80}")
    if not takes_rows and table is not None:
        problems.append("puzzle_table_sha256: given, but puzzle_embedding is not an input")
    takes_them = takes_rows or "puzzle_identifiers" in names
    if takes_them and (count is None or count < 1):
        problems.append(f"num_puzzle_identifiers: expected 1 or more with that input, got {count}")
    if not takes_them and count is not None:
        problems.append(f"num_puzzle_identifiers: {count}, but puzzle_identifiers is not an input")
    return problems


def _alphabet_problems(alphabet: tuple[str, ...] | None, vocab: int) -> list[str]:
    if alphabet is None:
        return []
    problems = []
    if vocab and len(alphabet) != vocab:
        problems.append(f"alphabet: {len(alphabet)} entries for {vocab} token ids")
    characters = "".join(alphabet)
    twice = sorted({c for c in characters if characters.count(c) > 1})
    problems += [f"alphabet: {c!r} stands for more than one token id" for c in twice]
    bad = sorted({c for c in characters if not c.isprintable()})
    return problems + [f"alphabet: {c!r} is not a printable character" for c in bad]
