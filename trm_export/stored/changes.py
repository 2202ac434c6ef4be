"""The differences between the tensors stored in a file and those of a correct one, in words.

An exporter is deterministic, so tensors correspond by name, in TFLite by number, and must be equal
to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trm_export.stored.graph import Array, Arrays
from trm_runtime.message_text import counted

_NEAR = 1e-5  # relative error of a factor that all values have
_DIGITS = (6, 9, 17)


def changes(ours: Arrays, theirs: Arrays) -> Iterator[tuple[str, str]]:
    """Name and difference of every tensor that differs."""
    for name, expected in ours.items():
        got = theirs.get(name)
        if got is None:
            yield name, "is not in the file"
        elif expected.dtype != got.dtype or expected.shape != got.shape:
            yield name, f"is {got.dtype} {got.shape}, expected {expected.dtype} {expected.shape}"
        elif not np.array_equal(expected, got, equal_nan=expected.dtype.kind == "f"):
            yield name, _how(name, expected, got, ours)


def _is_shifted(expected: Array, got: Array, shift: int, axis: int) -> bool:
    """Whether the values are those expected, shifted by that many places along the axis."""
    moved = np.moveaxis(expected, axis, 0), np.moveaxis(got, axis, 0)
    if shift < 0:
        moved, shift = (moved[1], moved[0]), -shift
    same = np.array_equal(moved[0][:-shift], moved[1][shift:])
    return same and not np.array_equal(moved[0][shift:], moved[1][shift:])


def _how(name: str, expected: Array, got: Array, ours: Arrays) -> str:
    twins = (n for n, x in ours.items() if n != name and got.size > 1 and np.array_equal(x, got))
    twin = next(twins, None)
    if twin is not None:
        return f"has the values of {twin}"
    if expected.ndim == 2 and np.array_equal(expected.T, got):
        return "is transposed"
    for axis, size in enumerate(expected.shape):
        for shift in (1, -1, size // 2):
            if size > 2 and _is_shifted(expected, got, shift, axis):
                return f"is shifted by {shift} along axis {axis}"
    x, y = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    bad = int((~np.isfinite(y)).sum())
    if bad:
        return f"has NaN or infinity in {bad} of {counted(x.size, 'value')}"
    factor = float(x @ y) / (float(x @ x) or 1.0)
    if abs(factor - 1) > _NEAR and np.allclose(
        x * factor, y, rtol=_NEAR, atol=1e-7 * float(np.abs(y).max())
    ):
        return f"is multiplied by {factor:.6g}"
    different = x != y
    worst = int(np.abs(y - x).argmax())
    return (
        f"{int(different.sum())} of {x.size} values differ; largest change: "
        f"{_from_to(x[worst], y[worst])}"
    )


def _from_to(was: float, became: float) -> str:
    """Both numbers, with as many digits as it takes to tell them apart."""
    texts = ((f"{was:.{digits}g}", f"{became:.{digits}g}") for digits in _DIGITS)
    left, right = next((pair for pair in texts if pair[0] != pair[1]), (f"{was}", f"{became}"))
    return f"from {left} to {right}"
