"""What the arrays of a golden must be: their names, dtypes, shapes and values, by its contract.

A golden under right checksums may still be of another model, or made to crash a reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.judging import UNJUDGED
from trm_runtime.npy import Header
from trm_runtime.parity.gaps import FIELDS
from trm_runtime.parity.golden import Chunk
from trm_runtime.tensors import AnySpec, shape_text

Array = np.ndarray[Any, Any]

_OPTIONAL = "labels"
_INTEGERS = (("u", 1), ("i", 1), ("i", 2), ("i", 4))  # kind and bytes; the smallest that fits
_SUMS = 2 * 8 * len(FIELDS)  # bytes of the differences of a tensor of a row at a step


Headers = Mapping[str, Header]
"""By the name of the array: "chunk/00000/cells"."""

Wanted = dict[str, tuple[str, tuple[int, ...]]]
"""For each array its dtype, where int32 may be smaller, and its shape."""


def index_problems(contract: StepContract, counts: Any, shown: Any) -> list[str]:
    """Problems of the contract of a golden, of its puzzles in each chunk, and of those shown."""
    if contract.granularity != "step":
        return [f"its granularity is {contract.granularity}, not step"]
    if not isinstance(counts, list) or not counts or not all(map(_is_count, counts)):
        return ["chunks: expected numbers above 0"]
    if not _is_count(shown) or shown > sum(counts):
        return ["shown: expected a number of puzzles, at most all"]
    return []


def header_problems(
    contract: StepContract, counts: Sequence[int], headers: Headers
) -> Iterator[str]:
    """Arrays that are missing or unknown, or of another dtype or shape."""
    if len(counts) > len(headers):
        yield "chunks: expected no more than there are arrays"
        return
    wanted = _wanted(contract, counts, headers)
    for name in headers:
        if name not in wanted:
            yield f"{name}: unknown"
    for name, (dtype, shape) in wanted.items():
        if name not in headers:
            if not name.endswith(f"/{_OPTIONAL}"):
                yield f"{name}: missing"
            continue
        found = headers[name]
        if not _fits(found.dtype, dtype):
            yield f"{name}: expected {dtype}, got {found.dtype}"
        if found.shape != shape:
            yield f"{name}: expected {shape_text(shape)}, got {shape_text(found.shape)}"


def bytes_in_memory(contract: StepContract, headers: Headers) -> int:
    """Of the largest chunk, and of the measurements of all followed rows."""
    sizes: dict[str, int] = {}
    for name, header in headers.items():
        folder = name.rpartition("/")[0].partition("/states")[0]
        size = math.prod(header.shape) * max(header.dtype.itemsize, 4)
        sizes[folder] = sizes.get(folder, 0) + size
    rows = sum(
        math.prod(header.shape)
        for name, header in headers.items()
        if name.rpartition("/")[2] in ("followed", "numbers")
    )
    tensors = len(contract.carry) + len(contract.outputs)
    return max(sizes.values(), default=0) + rows * tensors * contract.max_steps * _SUMS


def value_problems(contract: StepContract, chunk: Chunk) -> list[str]:
    """Arrays of a chunk that have numbers out of range."""
    vocab, count = contract.vocab_size, len(chunk)
    checked = [
        ("steps", chunk.steps, 1, contract.max_steps),
        ("followed", chunk.followed, 0, count - 1),
        ("cells", chunk.cells, 0, vocab - 1),
        *((f"states/{name}", array, 0, limit - 1) for name, array, limit in _ids(contract, chunk)),
    ]
    if chunk.labels is not None:
        judged = chunk.labels[chunk.labels != UNJUDGED]
        checked.append(("labels", judged, 0, vocab - 1))
    return [
        f"{name}: expected numbers in {least}..{most}"
        for name, array, least, most in checked
        if array.size and not (least <= int(array.min()) and int(array.max()) <= most)
    ]


def _ids(contract: StepContract, chunk: Chunk) -> Iterator[tuple[str, Array, int]]:
    """The ids in the carry, which an engine may use as an index."""
    limits = {"inputs": contract.vocab_size, "puzzle_identifiers": contract.num_puzzle_identifiers}
    for name, limit in limits.items():
        if limit is not None and f"current_{name}" in chunk.states:
            yield f"current_{name}", chunk.states[f"current_{name}"], limit


def _wanted(contract: StepContract, counts: Sequence[int], headers: Headers) -> Wanted:
    steps, cells = contract.max_steps, contract.seq_len
    states: tuple[AnySpec, ...] = (*contract.carry, *contract.outputs)
    wanted: Wanted = {}
    for number, n in enumerate(counts):
        folder = f"chunk/{number:05d}"
        rows = _rows(headers, f"{folder}/followed")
        followed = min(n, rows)
        wanted.update({
            **_tensors(f"{folder}/tokens", contract.inputs, (n,)),
            f"{folder}/labels": ("int32", (n, cells)),
            f"{folder}/cells": ("int32", (steps, n, cells)),
            f"{folder}/scores": ("float32", (steps, n)),
            f"{folder}/margins": ("float32", (n, cells)),
            f"{folder}/steps": ("int32", (n,)),
            f"{folder}/followed": ("int32", (followed,)),
            **_tensors(f"{folder}/states", states, (steps, followed)),
        })  # fmt: skip
    slots = max(1, _rows(headers, "refilled/numbers"))
    wanted["refilled/numbers"] = ("int32", (slots,))
    wanted.update(_tensors("refilled/inputs", contract.inputs, (steps, slots)))
    wanted.update(_tensors("refilled/states", states, (steps, slots)))
    return wanted


def _tensors(folder: str, specs: Sequence[AnySpec], rows: tuple[int, ...]) -> Wanted:
    return {
        f"{folder}/{spec.name}": (spec.dtype, (*rows, *(size or 1 for size in spec.shape[1:])))
        for spec in specs
    }


def _rows(headers: Headers, name: str) -> int:
    return headers[name].shape[0] if name in headers and headers[name].shape else 0


def _fits(found: np.dtype[Any], wanted: str) -> bool:
    if wanted == "int32":
        return (found.kind, found.itemsize) in _INTEGERS
    return found == np.dtype(wanted)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0
