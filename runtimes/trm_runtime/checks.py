"""Checks of arrays before any engine gets them, so that every driver gives the same message.

Knows the contract and numpy; knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.errors import ContractMismatchError, RejectedInputError
from trm_runtime.message_text import MAX_LISTED
from trm_runtime.runner import Arrays
from trm_runtime.tensors import DTYPES, AnySpec, Shape, shape_text

_DTYPES = {name: np.dtype(name) for name in DTYPES}

_Wanted = Sequence[tuple[str, Shape, "np.dtype[Any]"]]


def check_inputs(
    contract: StepContract, inputs: Arrays, rows: int | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """The inputs in the dtypes of the contract: `inputs` (N, S) int32 and, if it has them,
    `puzzle_identifiers` (N,) int32 or `puzzle_embedding` (N, W) float32.

    N must be `rows` if that is given, and the same for all. Raises RejectedInputError, listing
    every problem: names, an integer dtype, the shape, then 0 <= id < its limit; the first few wrong
    ids are listed with row, column, value and allowed range.
    """
    if _inputs_fit(contract, inputs, rows):
        return {name: np.ascontiguousarray(inputs[name]) for name in contract.by_name[0]}
    problems = _name_problems("input", [spec.name for spec in contract.inputs], list(inputs))
    found = {s.name: np.asarray(inputs[s.name]) for s in contract.inputs if s.name in inputs}
    if rows is None:
        rows = _rows(contract, found)
    for spec in contract.inputs:
        if spec.name in found and spec.dtype == "float32":
            problems += _float_problems(spec, found[spec.name], rows)
        elif spec.name in found:
            limit = _id_limit(contract, spec.name)
            problems += _id_problems(spec, found[spec.name], rows, limit)
    if problems:
        raise RejectedInputError("The puzzles do not fit the model:", problems)
    return {
        spec.name: np.ascontiguousarray(found[spec.name], dtype=spec.dtype)
        for spec in contract.inputs
    }


def _inputs_fit(contract: StepContract, inputs: Arrays, rows: int | None) -> bool:
    """Whether the inputs are as in the contract to the dtype, so that no array needs a look."""
    specs, first = contract.by_name[0], inputs.get(contract.inputs[0].name)
    if rows is None:
        rows = len(first) if isinstance(first, np.ndarray) and first.ndim else None
    if rows is None or not _are(_kinds(contract, rows).inputs, inputs):
        return False
    return all(_values_fit(inputs[name], _id_limit(contract, name)) for name in specs)


def _values_fit(array: np.ndarray[Any, Any], limit: int) -> bool:
    """Whether floats are finite, and int32 ids below the limit; a negative one counts as huge."""
    if array.dtype.kind == "f":
        return bool(np.isfinite(array).all())
    return not array.size or bool(array.view(np.uint32).max() < limit)


def with_identifiers(
    contract: StepContract,
    tokens: np.ndarray[Any, Any],
    identifiers: np.ndarray[Any, Any] | None = None,
) -> Arrays:
    """Puzzles (N, S) by name, with identifiers (N,) if the model takes them; 0 if not given."""
    named = {"inputs": tokens}
    if any(spec.name == "puzzle_identifiers" for spec in contract.inputs):
        zeros = np.zeros(tokens.shape[:1], dtype=np.int32)
        named["puzzle_identifiers"] = zeros if identifiers is None else identifiers
    return named


def _rows(contract: StepContract, found: Arrays) -> int | None:
    """N of the first array, or None if that has too few or too many axes."""
    spec = next((spec for spec in contract.inputs if spec.name in found), None)
    if spec is None or found[spec.name].ndim != len(spec.shape):
        return None
    return len(found[spec.name])


def check_carry(contract: StepContract, carry: Arrays, rows: int) -> None:
    """Raise RejectedInputError, listing every wrong name, dtype and shape, for a bad carry."""
    if _are(_kinds(contract, rows).carry, carry):
        return
    problems = _array_problems("carry", contract.by_name[1], carry, rows)
    if problems:
        raise RejectedInputError("The carry does not fit the model:", problems)


def check_step_call(
    contract: StepContract, inputs: Arrays, carry: Arrays
) -> dict[str, np.ndarray[Any, Any]]:
    """Everything a driver checks on entry of `step`: returns the inputs, as `check_inputs` does.

    The batch is the contract's, or, if that is dynamic, the number of rows of `inputs`: 1 or more,
    since an engine may crash without rows.
    """
    checked = check_inputs(contract, inputs, contract.batch)
    rows = len(checked["inputs"])
    if not rows:
        problem = "input 'inputs': expected 1 or more rows, got 0"
        raise RejectedInputError("The puzzles do not fit the model:", [problem])
    check_carry(contract, carry, rows)
    return checked


def check_step_output(
    contract: StepContract, carry: Arrays, outputs: Arrays, rows: int
) -> list[np.ndarray[Any, Any]]:
    """The float32 tensors of a step, those of the outputs first.

    Raises ContractMismatchError, listing every difference of a step's arrays.
    """
    kinds = _kinds(contract, rows)
    if not (_are(kinds.outputs, outputs) and _are(kinds.carry, carry)):
        _, wanted, given = contract.by_name
        problems = _array_problems("output", given, outputs, rows)
        problems += _array_problems("next carry", wanted, carry, rows)
        if problems:
            title = "A step returned other tensors than its contract:"
            raise ContractMismatchError(title, problems)
    of_outputs, of_carry = kinds.floats
    return [outputs[name] for name in of_outputs] + [carry[name] for name in of_carry]


def _name_problems(role: str, wanted: Sequence[str], found: Sequence[str]) -> list[str]:
    problems = [f"{role} {name!r}: missing" for name in wanted if name not in found]
    known = ", ".join(wanted)
    return problems + [
        f"{role} {name!r}: unknown; expected {known}" for name in found if name not in wanted
    ]


def _array_problems(
    role: str, wanted: Mapping[str, AnySpec], found: Arrays, rows: int | None
) -> list[str]:
    problems = _name_problems(role, list(wanted), list(found))
    for name in (name for name in wanted if name in found):
        spec, array = wanted[name], np.asarray(found[name])
        shape = (rows, *spec.shape[1:])
        if array.dtype != spec.dtype:
            problems.append(f"{role} {name!r}: expected dtype {spec.dtype}, got {array.dtype}")
        if array.shape != shape:
            got = shape_text(array.shape)
            problems.append(f"{role} {name!r}: expected shape {shape_text(shape)}, got {got}")
    return problems


def _kinds(contract: StepContract, rows: int) -> _Kinds:
    """Of calls with so many rows; those of the last number of rows stay with the contract."""
    kinds: _Kinds | None = contract.memo.get(__name__)
    if kinds is None or kinds.rows != rows:
        kinds = contract.memo[__name__] = _Kinds(contract, rows)
    return kinds


class _Kinds:
    """What arrays must be to fit, so that no step computes it again."""

    def __init__(self, contract: StepContract, rows: int) -> None:
        self.rows = rows
        self.inputs, self.carry, self.outputs = (
            [(name, (rows, *spec.row), _DTYPES[spec.dtype]) for name, spec in specs.items()]
            for specs in contract.by_name
        )
        self.floats = _floats(self.outputs), _floats(self.carry)


def _floats(kinds: _Wanted) -> list[str]:
    return [name for name, _, dtype in kinds if dtype == np.float32]


def _are(wanted: _Wanted, found: Arrays) -> bool:
    """The rules of `_array_problems`, at once; a step is checked four times."""
    if len(found) != len(wanted):
        return False
    for name, shape, dtype in wanted:
        array = found.get(name)
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            return False
    return True


def _float_problems(spec: AnySpec, array: np.ndarray[Any, Any], rows: int | None) -> list[str]:
    if rows is None and array.ndim == len(spec.shape):
        rows = len(array)
    problems = _array_problems("input", {spec.name: spec}, {spec.name: array}, rows)
    if not problems and not np.isfinite(array).all():
        problems = [f"input {spec.name!r}: contains NaN or infinite values"]
    return problems


def _id_limit(contract: StepContract, name: str) -> int:
    return contract.vocab_size if name == "inputs" else (contract.num_puzzle_identifiers or 0)


def _id_problems(
    spec: AnySpec, array: np.ndarray[Any, Any], rows: int | None, limit: int
) -> list[str]:
    if rows is None and array.ndim == len(spec.shape):
        rows = len(array)
    shape = (rows, *spec.shape[1:])
    if array.dtype.kind not in "iu":
        return [f"input {spec.name!r}: expected an integer dtype such as int32, got {array.dtype}"]
    if array.shape != shape:
        wanted, got = shape_text(shape, "N"), shape_text(array.shape)
        return [f"input {spec.name!r}: expected shape {wanted}, got {got}"]
    if not array.size or (array.min() >= 0 and array.max() < limit):
        return []
    wrong = np.argwhere((array < 0) | (array >= limit))
    places = [tuple(int(i) for i in place) for place in wrong[:MAX_LISTED]]
    texts = [_id_text(spec.name, place, int(array[place]), limit) for place in places]
    more = len(wrong) - len(texts)
    return texts + ([f"... and {more} more in {spec.name!r}"] if more else [])


def _id_text(name: str, place: tuple[int, ...], value: int, limit: int) -> str:
    words = ("row", "column")
    where = ", ".join(f"{word} {index}" for word, index in zip(words, place))
    return f"input {name!r}, {where}: id {value} is not in 0..{limit - 1}"
