"""The messages of a step server: a line of JSON, and the raw bytes of tensors.

Knows the contract and numpy; knows no process and no engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trm_runtime import strict_json
from trm_runtime.contract import StepContract
from trm_runtime.message_text import counted
from trm_runtime.solution import STOP_REASONS
from trm_runtime.tensors import AnySpec, TensorSpec

PROTOCOL, VERSION = "trm-step-server", 1
MAX_LINE = 1 << 16  # bytes, the newline included
STEP, SOLVE = "step", "solve"  # requests
REPLIES = ("answers", "steps", "stop_reasons")  # of a solve, all int32
TRY_REPLIES = ("tries", "total_steps", "chosen")  # and these where it has several tries

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Head = Mapping[str, Any]


def line_of(head: Head, size: int) -> bytes:
    """The line of a message that is followed by so many bytes."""
    line = json.dumps({**head, "bytes": size}, allow_nan=False).encode() + b"\n"
    if len(line) > MAX_LINE:  # only the text of an error can be so long
        raise ValueError(f"a line of {len(line)} bytes, more than {MAX_LINE}")
    return line


def read_line(line: bytes) -> dict[str, Any]:
    """The object of a line that was read up to its newline, or up to MAX_LINE bytes.

    Raises ValueError for what is no line of a message.
    """
    if not line.endswith(b"\n"):
        raise ValueError(f"a line without an end, or of more than {MAX_LINE:,} bytes")
    head = strict_json.parse(line.decode("utf-8"))
    size = head.get("bytes") if isinstance(head, dict) else None
    if not isinstance(head, dict) or type(size) is not int or size < 0:
        raise ValueError('expected a JSON object with "bytes"')
    return head


def entering(contract: StepContract) -> tuple[AnySpec, ...]:
    """The tensors of a step request."""
    return (*contract.inputs, *contract.carry)


def leaving(contract: StepContract) -> tuple[AnySpec, ...]:
    """The tensors of the reply to it; the next carry under its incoming names."""
    return (*contract.outputs, *contract.carry)


def solved(contract: StepContract, tries: int) -> tuple[AnySpec, ...]:
    """The tensors of the reply to a solve request with so many tries."""
    names = (*REPLIES, *(TRY_REPLIES if tries > 1 else ()))
    shapes = {"answers": (None, contract.seq_len)}
    return tuple(TensorSpec(name, "int32", shapes.get(name, (None,))) for name in names)


def size_of(specs: Sequence[AnySpec], rows: int) -> int:
    """The bytes of these tensors with so many rows."""
    return sum(_elements(spec, rows) * np.dtype(spec.dtype).itemsize for spec in specs)


def packed(specs: Sequence[AnySpec], arrays: Arrays) -> list[bytes]:
    """The raw bytes of these tensors, in this order."""
    return [arrays[spec.name].astype(_little(spec), copy=False).tobytes() for spec in specs]


def unpacked(specs: Sequence[AnySpec], rows: int, data: bytearray) -> dict[str, Array]:
    """These tensors by name, from the raw bytes.

    Raises ValueError for another number of bytes, and for a bool that is neither 0 nor 1.
    """
    wanted = size_of(specs, rows)
    if len(data) != wanted:
        raise ValueError(f"expected {wanted:,} bytes for {counted(rows, 'row')}, got {len(data):,}")
    arrays, start = {}, 0
    for spec in specs:
        flat = np.frombuffer(data, _little(spec), _elements(spec, rows), start)
        if spec.dtype == "bool" and (flat.view(np.uint8) > 1).any():
            raise ValueError(f"{spec.name}: expected 0 or 1 in a bool")
        start += flat.nbytes
        shape = (rows, *(size or 1 for size in spec.shape[1:]))
        arrays[spec.name] = flat.astype(spec.dtype, copy=False).reshape(shape)
    return arrays


def reason_numbers(reasons: Sequence[str]) -> Array:
    """(N,) int32: the number of each stop reason."""
    return np.array([STOP_REASONS.index(reason) for reason in reasons], np.int32)


def _elements(spec: AnySpec, rows: int) -> int:
    return rows * math.prod(size or 1 for size in spec.shape[1:])


def _little(spec: AnySpec) -> np.dtype[Any]:
    return np.dtype(spec.dtype).newbyteorder("<")
