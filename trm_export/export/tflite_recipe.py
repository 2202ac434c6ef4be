"""How to write each product of a model in int8, from what was seen of its activations.

One scale a tensor, which is all that TFLite has for activations, is far too coarse for a TRM: some
rows are a thousand times as large as others, and stay so, because a row is always the same position
or hidden channel. On the 9x9 Sudoku checkpoint one forced step has then a cosine of 0.83 with plain
extremes for ranges and 0.957 with the best clipping. Two exact rewritings help:

- A product works on rows, so ``W x = s (W (x / s))``: each row is divided by a constant before it
  is rounded, and multiplied after. That gives 0.990.
- The last product of a SwiGLU takes ``silu(gate) * up``, so that channel ``k`` of it can be divided
  by ``c`` in row ``k`` of the matrix of ``up`` and multiplied in column ``k`` of its own, for
  nothing (as SmoothQuant does with norms, arXiv 2211.10438). That gives 0.993.

A product with a bias keeps its rows as they are. Knows numbers, and no file format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from trm_export.export.tflite_flatbuffer import Array
from trm_export.export.tflite_observe import Statistics

Range = tuple[float, float]
"""Least and greatest value of an activation."""

LEVELS = 255
_FRACTIONS = (1.0, 0.8, 0.65, 0.5, 0.35, 0.25, 0.18, 0.12)  # of the extremes; the rest is clipped
_GAIN = 0.98  # a clip must lower the error to less than this share to be worth it


@dataclasses.dataclass(frozen=True)
class Product:
    """How to write one product ``y = x W^T`` with int8 activations.

    Attributes:
        rows: ``(rows, 1)`` float32; x is divided by it before rounding, y multiplied after.
        columns: ``(in,)`` float32; x arrives divided by it, W's columns are multiplied.
        outputs: ``(out,)`` float32; W's rows are divided by it, and so is y.
        entering, leaving: ranges of what is rounded.
        errors: of both by rounding, root mean square relative to the row.
    """

    rows: Array
    columns: Array
    outputs: Array
    entering: Range
    leaving: Range
    errors: tuple[float, float]


def scale_and_zero_point(limits: Range) -> tuple[float, int]:
    """Of an int8 activation whose range, widened to hold 0, fills -128..127."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = (high - low) / LEVELS or 1.0
    return scale, round(-128 - low / scale)


def products(
    seen: Mapping[str, tuple[Statistics, Statistics]],
    ups: Mapping[str, str],
    whole: Collection[str],
) -> dict[str, Product]:
    """A `Product` for every key of ``seen``.

    Args:
        seen: key of a matrix -> statistics of what enters and what leaves its product.
        ups: the last matrix of a SwiGLU -> the one of its up.
        whole: matrices whose rows cannot be scaled.
    """
    rows = {key: _row_scales(*pair) for key, pair in seen.items()}
    rows.update({key: np.ones_like(rows[key]) for key in whole})
    columns = {down: _column_scales(seen[down][0], rows[down]) for down in ups}
    outputs = {up: columns[down] for down, up in ups.items()}
    found = {}
    for key, (entering, leaving) in seen.items():
        into = columns.get(key, np.ones(entering.low.shape[1], np.float32))
        out = outputs.get(key, np.ones(leaving.low.shape[1], np.float32))
        (first, limits), (second, results) = (
            _fitted(entering, rows[key] * into), _fitted(leaving, rows[key] * out)
        )  # fmt: skip
        found[key] = Product(rows[key], into, out, limits, results, (first, second))
    return found


def _row_scales(entering: Statistics, leaving: Statistics) -> Array:
    """``(rows, 1)``: one scale serves both sides, so it lies half-way between theirs."""
    both = (np.sqrt(np.square(side.rms).mean(axis=1)) for side in (entering, leaving))
    x, y = (_normal(rms) for rms in both)
    return np.sqrt(x * y).astype(np.float32)[:, None]


def _column_scales(entering: Statistics, rows: Array) -> Array:
    return _normal(np.sqrt(np.square(entering.rms / rows).mean(axis=0))).astype(np.float32)


def _normal(scales: Array) -> Array:
    """Scales with a geometric mean of 1."""
    return scales / np.exp(np.log(scales).mean())


def _fitted(seen: Statistics, scales: Array) -> tuple[float, Range]:
    """The range of ``seen / scales`` that rounds best, and its error."""
    low, high = float((seen.low / scales).min()), float((seen.high / scales).max())
    kept = np.stack(seen.kept).astype(np.float32)
    best = (np.inf, (low, high))
    for fraction in _FRACTIONS:
        limits = (low * fraction, high * fraction)
        error = _relative(kept, rounded(kept / scales, limits) * scales - kept)
        if error < best[0] * _GAIN:
            best = (error, limits)
    return best


def rounded(array: Array, limits: Range) -> Array:
    """The array after a passage through int8."""
    scale, zero = scale_and_zero_point(limits)
    return (np.clip(np.rint(array / scale) + zero, -128, 127) - zero) * scale


def _relative(array: Array, error: Array) -> float:
    """Root mean square of each row's error over its size: norms come after, so size is free."""
    size = np.square(array).mean(axis=-1) + 1e-3
    return float(np.sqrt((np.square(error).mean(axis=-1) / size).mean()))
