"""How far each weight that a file stores is from the model's, in steps of its own grid.

A step is the scale of an integer, the distance of two neighbours in float16, and in float32 any
difference at all. Rounding leaves at most half a step, whoever wrote the file, and the largest
integer of every channel is that of the tensor, or its scale belongs to another channel. Four bits
are searched for the least squared error, which may leave large values beyond the grid: these must
be its ends, and at most twice as large. They are moved back by as much as their document says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from trm_export.exporters.onnx_int4 import LARGEST_CODE, unpacked
from trm_export.exporters.tflite_flatbuffer import INT8, load
from trm_export.exporters.tflite_keep import nearest_form, real_values
from trm_export.stored.graph import Array, Arrays
from trm_export.stored.tflite_graph import float_vector

HALF = 0.5  # of a step
NOTHING: Mapping[str, Array] = MappingProxyType({})
_SLACK = 1e-3  # of a step, for the rounding of the scale itself
_BEYOND = 2  # times the largest value of a grid of four bits
_FIRST = 1  # difference of the largest integers of two channels that rounding explains


@dataclass(frozen=True)
class WeightFit:
    """One stored tensor and the weight of the model that it is.

    Attributes:
        weight: its short name, with a mark in brackets where it is stored scaled.
        tensor: the name in the file.
        dtype: as it is stored.
        steps: largest distance of a value from the model's; see the module. Infinite in float32.
        problem: why it is not this weight rounded, in words; None if it is.
    """

    weight: str
    tensor: str
    dtype: str
    steps: float
    problem: str | None


@dataclass(frozen=True)
class Stored:
    """A stored tensor: ``values``, and for an integer its scales and zero points, broadcast.

    `moved` is by how much the values of four bits are not the nearest.
    """

    tensor: str
    values: Array
    scale: Array | None = None
    zero: Array | int = 0
    four_bits: bool = False
    moved: Array | int = 0

    def nearest(self, expected: Array) -> Array:
        """The values, those beyond the grid of four bits replaced by its ends; see the module."""
        if not self.four_bits or self.scale is None:
            return expected
        ends = -LARGEST_CODE * self.scale, (LARGEST_CODE - 1) * self.scale
        least, most = np.minimum(*ends), np.maximum(*ends)
        inside = np.abs(expected) <= _BEYOND * np.maximum(-least, most)
        return np.where(inside, np.clip(expected, least, most), expected)

    @property
    def real(self) -> Array:
        """The values that it stands for, moved back, in float64."""
        found = self.values.astype(np.float64) - self.moved
        return found if self.scale is None else (found - self.zero) * self.scale


def fit(weight: str, expected: Array, stored: Stored) -> WeightFit:
    """Compares a stored tensor with the weight that it should be, of the same shape."""
    off = np.abs(stored.real - stored.nearest(expected))
    steps = _steps(off, expected, stored)
    dtype = "int4" if stored.four_bits else stored.values.dtype.name
    return WeightFit(weight, stored.tensor, dtype, steps, _problem(steps, stored, off))


def _steps(off: Array, expected: Array, stored: Stored) -> float:
    """The largest of the distances in steps."""
    if stored.scale is not None:
        return float(np.max(off / np.abs(stored.scale), initial=0.0))
    if stored.values.dtype == np.float16:
        half = np.abs(expected).astype(np.float16)
        return float(np.max(off / np.spacing(half).astype(np.float64), initial=0.0))
    return float("inf") if off.any() else 0.0


def _problem(steps: float, stored: Stored, off: Array) -> str | None:
    if not steps <= HALF + _SLACK:
        where = "".join(f"[{k}]" for k in np.unravel_index(int(np.argmax(off)), off.shape))
        many = int(np.count_nonzero(off > 0)) if np.isinf(steps) else None
        far = f"{many} of {off.size} values differ" if many else f"off by {steps:.3g} steps"
        return f"{far}, worst at {where}"
    if stored.scale is not None and np.size(stored.scale) > 1 and not stored.four_bits:
        wrong = np.flatnonzero(~_full(stored))
        if len(wrong):
            return f"the scale of channel {wrong[0]} is too large for it, {len(wrong)} such"
    return None


def _full(stored: Stored) -> Array:
    """(channels,) bool: the channel uses its whole range, of values or of pairs of neighbours.

    `onnx_precision` limits the sum of two that lie beside each other, others limit each value.
    """
    axes = tuple(k for k, size in enumerate(np.asarray(stored.scale).shape) if size == 1)
    sizes = np.abs(stored.values.astype(np.int64) - stored.zero)
    alone = sizes.max(axis=axes)
    pairs = alone
    if axes == (0,) and len(sizes) > 1:
        even = sizes[: len(sizes) // 2 * 2]
        pairs = np.maximum((even[0::2] + even[1::2]).max(axis=0), alone)
    full: Array = (alone == 0) | (alone >= alone.max() - _FIRST)
    return full | (pairs >= pairs.max() - 2 * _FIRST)


def onnx_fits(
    tensors: Arrays, weights: Arrays, moved: Mapping[str, Array] = NOTHING
) -> tuple[WeightFit, ...]:
    """The weights of an ONNX file by their names, those of onnxruntime's quantizer included."""
    found = []
    for name, array in weights.items():
        four = _four_bits(name, tensors, array.size, moved.get(name))
        for stored in (*_onnx_forms(name, tensors), *four):
            expected = array.reshape(stored.values.shape)
            found.append(fit(name, expected, stored))
    return tuple(found)


_FORMS = ("{}/int8", "{}/scale", "{}/zero"), ("{}_quantized", "{}_scale", "{}_zero_point")


def _onnx_forms(name: str, tensors: Arrays) -> Iterator[Stored]:
    for plain in (name, f"{name}/half"):
        if plain in tensors:
            yield Stored(plain, tensors[plain])
    for form in _FORMS:
        values, scale, zero = (text.format(name) for text in form)
        if values in tensors and scale in tensors:
            zeros = tensors.get(zero, np.zeros(1, np.int64)).astype(np.int64)
            yield Stored(values, tensors[values], _spread(tensors[scale]), _spread(zeros))


def _four_bits(name: str, tensors: Arrays, size: int, moved: Array | None) -> Iterator[Stored]:
    parts = [f"{name}/{ending}" for ending in ("int4", "factors", "scale")]
    if all(part in tensors for part in parts):
        packed, factors, scales = (tensors[part] for part in parts)
        values, scale = unpacked(packed, factors, scales, size)
        by = 0 if moved is None or moved.shape != values.shape else moved
        yield Stored(parts[0], values, scale, four_bits=True, moved=by)


def _spread(array: Array) -> Array:
    """One number a column, ``(1, N)``, or one number ``(1, 1)``."""
    return np.reshape(array, (1, -1))


def tflite_fits(path: Path, weights: Arrays) -> tuple[WeightFit, ...]:
    """The matrices of a `.tflite` file, each the nearest weight; vectors only where equal."""
    model, seen = load(path.read_bytes()), set[int]()
    found: list[WeightFit] = []
    for part, graph in enumerate(model.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            label, array = f"{part} {number} values", real_values(model, tensor)
            if tensor.buffer in seen:
                continue
            if array is None:
                found += _equal(label, float_vector(model, tensor), weights)
                continue
            seen.add(tensor.buffer)
            name, expected = nearest_form(array, weights)
            if expected is not None:
                found.append(fit(name, expected, _tflite_stored(model, tensor, array, label)))
    return tuple(found)


def _equal(label: str, vector: Array | None, weights: Arrays) -> Iterator[WeightFit]:
    """The weights that a stored vector is equal to."""
    if vector is not None and vector.size:
        for name, array in weights.items():
            with np.errstate(over="ignore"):
                same = np.array_equal(array.ravel().astype(vector.dtype), vector.ravel())
            if same:
                steps = 0.0 if vector.dtype == np.float32 else HALF
                yield WeightFit(name, label, vector.dtype.name, steps, None)


def _tflite_stored(model: Any, tensor: Any, array: Array, label: str) -> Stored:
    content = bytes(model.buffers[tensor.buffer].data)
    if tensor.type != INT8:
        half = len(content) == 2 * array.size
        return Stored(label, array.astype(np.float16) if half else array)
    axes = [1] * array.ndim
    grid = tensor.quantization
    if len(grid.scale) > 1:
        axes[grid.quantizedDimension] = -1
    integers = np.frombuffer(content, np.int8).reshape(tensor.shape)
    return Stored(label, integers, np.reshape(grid.scale, axes), np.reshape(grid.zeroPoint, axes))


def named_fits(constants: Arrays, weights: Arrays) -> tuple[WeightFit, ...]:
    """Weights that are stored under their own names, as in a SavedModel."""
    return tuple(
        fit(name, array.reshape(constants[name].shape), Stored(name, constants[name]))
        for name, array in weights.items()
        if name in constants and constants[name].size == array.size
    )


def is_rounded(one: WeightFit) -> bool:
    """Whether a weight is stored in integers."""
    return one.dtype in ("int4", "int8", "uint8")


def missing(fits: Iterable[WeightFit], weights: Mapping[str, Array]) -> tuple[str, ...]:
    """The weights that no stored tensor is."""
    found = {one.weight.partition("[")[0] for one in fits}
    return tuple(name for name in weights if name not in found)
