"""How to write each product of a model in int8, from the observed activations.

TFLite has one scale a tensor for activations. That is far too coarse for a TRM: some rows are a
thousand times as large as others, always the same ones, because a row is a fixed position or hidden
channel. On the 9x9 Sudoku checkpoint one forced step has a cosine of 0.83 with the extremes as
ranges and 0.957 with the best clipping. Two exact rewritings help:

- A product works on rows, so ``W x = s (W (x / s))``: each row is divided by a constant before it
  is rounded, and multiplied after. That gives 0.990.
- The last product of a SwiGLU takes ``silu(gate) * up``, so that channel ``k`` of it can be divided
  by ``c`` in row ``k`` of the matrix of ``up`` and multiplied in column ``k`` of its own, at no
  cost (as SmoothQuant does with norms, arXiv 2211.10438). Its error is shared with that of up.
  That gives 0.997.

The last products of the SwiGLUs stay the worst, because their inputs and outputs have heavy tails.
Where the error of a product is above `FINE_ABOVE` it is computed three times with the same weights:

- on the rounded activation, with the range of the result for large values;
- the same with a narrow range, in which large values saturate; wherever they do, the excess is
  taken from the first;
- on the rounding error of the activation.

On hard puzzles that raises the least cosine from 0.990 to 0.998, and takes 1.5 times as long.

Clipping pays where a norm follows: it lowers the error of a row. No norm follows queries and keys.
Few of their values are large, and those decide what the softmax chooses, so they are never clipped.
On the 11x11 maze checkpoint that raises the least cosine from 0.878 to 0.9989.

The rows of a product with a bias are not scaled. Works on arrays; knows no file format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

import numpy as np

from trm_export.exporters.calibration import MARGIN
from trm_export.exporters.tflite_flatbuffer import Array
from trm_export.exporters.tflite_observe import ActivationStatistics

Range = tuple[float, float]
"""Least and greatest value of an activation."""

LEVELS = 255
_SHARES = (1.0, 0.8, 0.65, 0.5, 0.35, 0.25, 0.18, 0.12)  # of the extremes; the rest is clipped
_GAIN = 0.98  # a clip is used only if it lowers the error to less than this share
FINE_ABOVE = 0.025  # relative error of a product above which it is computed three times
_NARROW = (4, 8, 16, 32)  # how much narrower the narrow range may be
_LEAST_SIZE = 1e-3  # mean square of a row below which errors do not matter


@dataclasses.dataclass(frozen=True)
class ResidueRanges:
    """The ranges of the second and third computation of a product; see the module."""

    narrow: Range  # of the result, where it is not large
    residue: Range  # of the rounding error of the activation
    residue_leaving: Range


@dataclasses.dataclass(frozen=True)
class Product:
    """How to write one product ``y = x W^T`` with int8 activations.

    Attributes:
        rows: ``(rows, 1)`` float32; x is divided by it before rounding, y multiplied after.
        columns: ``(in,)`` float32; x is already divided by it, W's columns are multiplied.
        outputs: ``(out,)`` float32; W's rows are divided by it, and so is y.
        entering, leaving: ranges of the rounded tensors.
        error: of y by all rounding, root mean square relative to the row.
        fine: the ranges of the other two computations, if there are three.
    """

    rows: Array
    columns: Array
    outputs: Array
    entering: Range
    leaving: Range
    error: float
    fine: ResidueRanges | None = None


@dataclasses.dataclass(frozen=True)
class MatrixObservation:
    """One matrix ``(out, in)`` float32 and the observed activations of its product."""

    matrix: Array
    entering: ActivationStatistics
    leaving: ActivationStatistics


def scale_and_zero_point(limits: Range) -> tuple[float, int]:
    """Of an int8 activation whose range, widened to hold 0, fills -128..127."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = (high - low) / LEVELS or 1.0
    return scale, round(-128 - low / scale)


def grid_limits(limits: Range) -> Range:
    """The least and the greatest value that an int8 activation of this range can have."""
    scale, zero = scale_and_zero_point(limits)
    return (-128 - zero) * scale, (127 - zero) * scale


def rounded(array: Array, limits: Range) -> Array:
    """The array quantized to int8 and back."""
    scale, zero = scale_and_zero_point(limits)
    return (np.clip(np.rint(array / scale) + zero, -128, 127) - zero) * scale


def quantised_rows(matrix: Array) -> tuple[Array, Array]:
    """``(out, in)`` float32 -> the same in int8, and one float32 scale a row."""
    scales = np.abs(matrix).max(axis=1) / 127
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    return np.rint(matrix / scales[:, None]).clip(-127, 127).astype(np.int8), scales


def products(
    observed: Mapping[str, MatrixObservation],
    ups: Mapping[str, str],
    affine: Collection[str],
    attending: Collection[str] = (),
) -> dict[str, Product]:
    """A `Product` for every key of ``observed``.

    Args:
        observed: by the key of the matrix.
        ups: the last matrix of a SwiGLU -> the one of its up.
        affine: matrices whose products have a bias or an activation, so rows cannot be scaled.
        attending: matrices of queries and keys, whose results are not clipped.
    """
    rows = {key: _row_scales(one) for key, one in observed.items()}
    rows.update({key: np.ones_like(rows[key]) for key in affine})
    columns = {down: _column_scales(observed[down].entering, rows[down]) for down in ups}
    outputs = {up: columns[down] for down, up in ups.items()}
    recipes = {}
    for key, one in observed.items():
        out, into = (np.ones(size, np.float32) for size in one.matrix.shape)
        trial = _Trial(one, rows[key], columns.get(key, into), outputs.get(key, out))
        recipes[key] = (
            trial.plain()
            if key in affine
            else trial.fitted(clips_entering=key in ups, clips_leaving=key not in attending)
        )
    return recipes


def _row_scales(one: MatrixObservation) -> Array:
    """``(rows, 1)``: one scale for both sides, the geometric mean of theirs."""
    both = (np.sqrt(np.square(side.rms).mean(axis=1)) for side in (one.entering, one.leaving))
    x, y = (_normal(rms) for rms in both)
    return np.sqrt(x * y).astype(np.float32)[:, None]


def _column_scales(entering: ActivationStatistics, rows: Array) -> Array:
    """``(in,)``: the root of the channel sizes, because up gets the other half of the error."""
    sizes = np.sqrt(np.square(entering.rms / rows).mean(axis=0))
    return np.sqrt(_normal(sizes)).astype(np.float32)


def _normal(scales: Array) -> Array:
    """Scales with a geometric mean of 1."""
    return scales / np.exp(np.log(scales).mean())


class _Trial:
    """One product with given scales, tried on the stored samples."""

    def __init__(self, one: MatrixObservation, rows: Array, columns: Array, outputs: Array) -> None:
        self._scales = (rows, columns, outputs)
        self._x = np.stack(one.entering.samples).astype(np.float32) / (rows * columns)
        exact = one.matrix * columns / outputs[:, None]
        integers, scales = quantised_rows(exact)
        self._w = (integers * scales[:, None]).T
        self._y = self._x @ exact.T
        self._size = np.square(self._y * outputs).mean(axis=-1) + _LEAST_SIZE / np.square(
            rows[:, 0]
        )
        self._entering = _extremes(one.entering, rows * columns)
        self._leaving = _extremes(one.leaving, rows * outputs)

    def plain(self) -> Product:
        """The observed ranges, for a product with a bias or an activation."""
        error = self._error(rounded(self._x, self._entering) @ self._w)
        return Product(*self._scales, self._entering, self._leaving, error)

    def fitted(self, *, clips_entering: bool, clips_leaving: bool) -> Product:
        """The ranges with the least error, where they may clip."""
        entering, leaving = _widened(self._entering), _widened(self._leaving)
        if clips_entering:
            entering = self._best(self._entering, lambda tried: rounded(self._x, tried) @ self._w)
        product = rounded(self._x, entering) @ self._w
        if clips_leaving:
            leaving = self._best(self._leaving, lambda tried: rounded(product, tried))
        error = self._error(rounded(product, leaving))
        if error <= FINE_ABOVE:
            return Product(*self._scales, entering, leaving, error)
        return self._refined()

    def _refined(self) -> Product:
        """Three computations, none of which clips."""
        entering, leaving = _widened(self._entering), _widened(self._leaving)
        large = rounded(self._x, entering) @ self._w
        half = scale_and_zero_point(entering)[0] / 2
        residue = (-half, half)
        rest = rounded(self._x - rounded(self._x, entering), residue) @ self._w
        rest_leaving = (float(rest.min()) * 2, float(rest.max()) * 2)
        narrow_ones = [(leaving[0] / share, leaving[1] / share) for share in _NARROW]
        results = {
            narrow: _two_levels(large, leaving, narrow) + rounded(rest, rest_leaving)
            for narrow in narrow_ones
        }
        narrow = min(results, key=lambda tried: self._error(results[tried]))
        fine = ResidueRanges(narrow, residue, rest_leaving)
        return Product(*self._scales, entering, leaving, self._error(results[narrow]), fine)

    def _best(self, extremes: Range, compute: Callable[[Range], Array]) -> Range:
        """The share of the extremes with the least error; see `_GAIN`."""
        best, limits = np.inf, extremes
        for share in _SHARES:
            tried = (extremes[0] * share, extremes[1] * share)
            error = self._error(compute(tried))
            if error < best * _GAIN:
                best, limits = error, tried
        return limits

    def _error(self, y: Array) -> float:
        """Root mean square of each row's error over its size, because a norm follows."""
        off = np.square((y - self._y) * self._scales[2]).mean(axis=-1)
        return float(np.sqrt((off / self._size).mean()))


def _widened(limits: Range) -> Range:
    return limits[0] * MARGIN, limits[1] * MARGIN


def _two_levels(array: Array, wide: Range, narrow: Range) -> Array:
    """The array quantized with both ranges; see the module."""
    large = rounded(array, wide)
    return rounded(array, narrow) + large - np.clip(large, *grid_limits(narrow))


def _extremes(observed: ActivationStatistics, scales: Array) -> Range:
    low, high = (np.divide(x, scales, dtype=np.float64) for x in (observed.low, observed.high))
    return float(low.min()), float(high.max())
