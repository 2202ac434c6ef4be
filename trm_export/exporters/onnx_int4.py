"""Matrices of an ONNX graph in four bits, which an engine turns into int8 when it opens the file.

A stored value is ``code * factor * scale``: a code of four bits, an int8 factor for each block of
inputs of an output, and a float32 scale for each output. ``code * factor`` is an integer within
-64..64, which is what `onnx_precision` multiplies by. It is computed by operators on constants,
which an engine does once, when it opens the file. So the file is small, and a step takes the time
of int8. (Two levels of scales as in QLoRA's double quantization, arXiv 2305.14314.)

Factors and scales are those of the least squared error, by search. The codes are the nearest ones,
or moved from them by what real rollouts make of it (`onnx_int4_calibrate`). What each way of
rounding costs, and `MatMulNBits`: `python -m benchmarks.compare_int4`; see docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from trm_export.exporters.calibration import RecipeError
from trm_export.exporters.onnx_precision import Store
from trm_export.exporters.onnx_products import Columns, Weight

Array = np.ndarray[Any, Any]

BLOCK = 32  # most inputs that share a factor
LARGEST_CODE = 8  # codes are -8..7, stored as 0..15
CODES = -LARGEST_CODE, LARGEST_CODE - 1  # the ends
LARGEST_FACTOR = 8  # absolute value; a factor may be negative, so that -8 is on either side
MOST_MOVED = 2  # codes from the nearest
_SPANS = np.linspace(0.6, 1.2, 25)  # of the largest value of a column, which 8 x 8 scales stand for


@dataclass(frozen=True)
class FourBits:
    """A matrix ``(K, N)`` in four bits.

    Attributes:
        codes: (blocks, size, N) int8, -8..7; a row beyond K is 0.
        factors: (blocks, 1, N) int8, -8..8.
        scale: (N,) float32.
    """

    codes: Array
    factors: Array
    scale: Array

    @property
    def packed(self) -> Array:
        """(blocks, size / 2, N) uint8: the first half of a block in the lower four bits."""
        low, high = np.split((self.codes + LARGEST_CODE).astype(np.uint8), 2, axis=1)
        return np.asarray(low | high << 4)

    def codes_of(self, rows: int) -> Array:
        """(rows, N) int8: the codes of the matrix itself."""
        return self.codes.reshape(-1, self.codes.shape[-1])[:rows]

    def real_of(self, rows: int) -> Array:
        """(rows, N) float32: what each code is multiplied by."""
        real = np.broadcast_to(self.factors * self.scale, self.codes.shape)
        return real.reshape(-1, real.shape[-1])[:rows]

    def moved(self, by: Array) -> FourBits:
        """The same with each code of the matrix moved, ``(K, N)`` int8."""
        codes = self.codes.reshape(-1, self.codes.shape[-1]).copy()
        codes[: len(by)] += within_codes(codes[: len(by)], by)
        return replace(self, codes=codes.reshape(self.codes.shape))


def within_codes(nearest: Array, by: Array) -> Array:
    """By how much codes can be moved: at most `MOST_MOVED`, and not beyond the codes; int8."""
    least, most = (np.clip(end - nearest, -MOST_MOVED, MOST_MOVED) for end in CODES)
    return np.clip(by, least, most).astype(np.int8)


def four_bits(values: Array) -> FourBits:
    """The factors and scales of the least squared error of a matrix ``(K, N)`` float32."""
    blocks = in_blocks(values)
    most = np.abs(blocks).max(axis=(0, 1))
    least, scale = np.full(most.shape, np.inf), np.ones(most.shape, np.float32)
    factors = np.ones((len(blocks), 1, len(most)), np.int8)
    for span in _SPANS:
        tried = np.where(most > 0, most * span / (LARGEST_CODE * LARGEST_FACTOR), 1)
        errors, found = _factors(blocks, tried.astype(np.float32))
        better = errors < least
        least, scale = np.where(better, errors, least), np.where(better, tried, scale)
        factors = np.where(better, found, factors)
    scale = scale.astype(np.float32)
    return FourBits(_codes(blocks, factors * scale).astype(np.int8), factors, scale)


def unpacked(packed: Array, factors: Array, scale: Array, size: int) -> tuple[Array, Array]:
    """The codes ``(K, N)`` int8 of a stored matrix of that size, and what each is multiplied by."""
    columns = len(scale)
    codes = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.int8) - LARGEST_CODE
    real = np.broadcast_to(factors * scale, codes.shape).reshape(-1, columns)
    rows = size // columns
    return codes.reshape(-1, columns)[:rows], real[:rows]


def in_blocks(values: Array) -> Array:
    """``(K, N)`` -> ``(blocks, size, N)``, blocks of one even size, with few rows of zeros."""
    rows, columns = values.shape
    count = -(-rows // BLOCK)
    size = 2 * -(-rows // (2 * count))
    padded = np.zeros((count * size, columns), np.float32)
    padded[:rows] = values
    return padded.reshape(count, size, columns)


def _codes(blocks: Array, scale: Array) -> Array:
    return np.asarray(np.clip(np.rint(blocks / scale), *CODES))


def _factors(blocks: Array, scale: Array) -> tuple[Array, Array]:
    """The squared error of every column, (N,), and the best factors of its blocks."""
    shape = (len(blocks), 1, blocks.shape[2])
    least, best = np.full(shape, np.inf), np.ones(shape, np.int8)
    for size in range(1, LARGEST_FACTOR + 1):
        for factor in (size, -size):
            real = factor * scale
            error = np.square(_codes(blocks, real) * real - blocks).sum(axis=1, keepdims=True)
            better = error < least
            least, best = np.where(better, error, least), np.where(better, np.int8(factor), best)
    return least.sum(axis=(0, 1)), best


def stored_in_four_bits(
    moved: Mapping[str, Array], nearest: Callable[[str, Array], FourBits]
) -> Store:
    """How to store a matrix; the codes of those that `moved` names are moved by ``(K, N)``.

    ``nearest(name, values)`` is `four_bits` of it.
    Storing one whose shape is another raises RecipeError.
    """

    def store(weight: Weight, part: Columns) -> list[str]:
        shape = tuple(weight.tensor.dims)
        name = f"{weight.name}/int8"
        if name not in weight.nodes:
            by = moved.get(weight.name, np.zeros(shape, np.int8))
            if by.shape != shape:
                raise RecipeError(
                    f"The calibration document cannot be used: {weight.name} has the shape "
                    f"{shape}, not {by.shape}; export the model again."
                )
            _unpack(weight, nearest(weight.name, weight.values).moved(by), name)
        zero = weight.store("zero", np.zeros(shape[1], np.int8))
        stored = {name: shape, f"{weight.name}/scale": shape[1:], zero: shape[1:]}
        return [weight.cut(one, size, part) for one, size in stored.items()]

    return store


def _unpack(weight: Weight, found: FourBits, name: str) -> None:
    """Stores the three arrays, and the operators that make int8 integers ``(K, N)`` of them.

    Bytes become numbers first, because not every engine shifts them (MNN, tinygrad). Names are
    short, because in a small file those of so many nodes would be a large part.
    """
    packed, factors = weight.store("int4", found.packed), weight.store("factors", found.factors)
    weight.store("scale", found.scale)
    rows, columns = weight.tensor.dims
    sixteenth, sixteen, middle = (
        weight.shared(f"int4/{called}", np.float32(x))
        for called, x in (("16th", 1 / 16), ("16", 16), ("8", LARGEST_CODE))
    )
    ends = [weight.shared(f"int4/{n}", np.array([n])) for n in (0, rows)]
    shape = weight.shared(f"int4/{columns}_columns", np.array([-1, columns]))
    made = iter(range(100))
    prefix = f"int4/{len(weight.home.initializer)}"

    def add(op: str, *inputs: str, **facts: Any) -> str:
        out = f"{prefix}/{next(made)}"
        weight.nodes[out] = helper.make_node(op, inputs, [out], **facts)
        return out

    both = add("Cast", packed, to=TensorProto.FLOAT)
    high = add("Floor", add("Mul", both, sixteenth))
    low = add("Sub", both, add("Mul", high, sixteen))
    codes = add("Concat", low, high, axis=1)
    real = add("Cast", factors, to=TensorProto.FLOAT)
    blocks = add("Mul", add("Sub", codes, middle), real)
    kept = add("Slice", add("Reshape", blocks, shape), *ends, ends[0])
    weight.nodes[name] = helper.make_node("Cast", [kept], [name], to=TensorProto.INT8)
