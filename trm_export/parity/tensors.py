"""How far one tensor of one step is off: sums that grow batch by batch, and what they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_export.parity.gates import Gates

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Place:
    """One element of a tensor, and what the two sides have there."""

    puzzle: int  # row of the puzzles
    refilled: bool  # in a slot that takes up new puzzles in mid-flight
    position: tuple[int, ...]  # within the row: (position, channel) of a state
    expected: float
    got: float


@dataclass(frozen=True)
class TensorError:
    """The forced error of one tensor at one step, over all rows."""

    step: int  # counted from 1
    tensor: str
    dtype: str
    elements: int
    max_abs: float
    mean_abs: float
    relative_l2: float  # |candidate - reference| / |reference|
    cosine: float
    unequal: int  # elements that are not equal, for integers and booleans
    nonfinite: int  # NaN or infinite where the reference is finite
    reference_nonfinite: int
    reference_leaks: int  # of these, in slots that take up new puzzles in mid-flight
    worst: Place | None  # a non-finite element if there is one, else the largest difference

    def _leak(self) -> str:
        if not self.reference_leaks:
            return ""
        return (
            f", {self.reference_leaks} of them in slots that were just refilled: the model leaks "
            "the stale carry of a halted row; choose the new state by a select, not by arithmetic"
        )

    def problem(self, gates: Gates) -> str | None:
        """Why the gates do not let this pass, or None."""
        if self.reference_nonfinite:
            found = f"the reference itself has {self.reference_nonfinite} NaN or infinite values"
            return found + self._leak()
        if self.nonfinite:
            return f"{self.nonfinite} NaN or infinite values"
        if self.dtype != "float32":
            return f"{self.unequal} of {self.elements} values differ" if self.unequal else None
        if gates.relative_l2 is not None and not self.relative_l2 <= gates.relative_l2:
            return f"relative L2 {self.relative_l2:.2e} is above {gates.relative_l2:.0e}"
        if gates.cosine is not None and not self.cosine >= gates.cosine:
            return f"cosine {self.cosine:.6f} is below {gates.cosine}"
        return None


class TensorSum:
    """The running sums behind one TensorError."""

    def __init__(self, step: int, tensor: str, dtype: str) -> None:
        self._step, self._tensor, self._dtype = step, tensor, dtype
        self._elements = self._unequal = self._nonfinite = self._reference_nonfinite = 0
        self._reference_leaks = 0
        self._max = self._abs = self._squares = self._expected = self._got = self._dot = 0.0
        self._worst: Place | None = None

    def add(self, expected: Array, got: Array, puzzles: Array, refilled: bool) -> None:
        """Both (n, ...), row i from puzzle `puzzles[i]`."""
        finite = np.isfinite(expected) & np.isfinite(got)
        bad = np.isfinite(expected) & ~np.isfinite(got)
        x = np.where(finite, expected, 0).astype(np.float64)
        y = np.where(finite, got, 0).astype(np.float64)
        gap = np.abs(y - x)
        self._elements += gap.size
        self._unequal += int(np.count_nonzero(gap)) + int(np.count_nonzero(bad))
        spoilt = int(np.count_nonzero(~np.isfinite(expected)))
        self._reference_nonfinite += spoilt
        self._reference_leaks += spoilt if refilled else 0
        self._abs += float(gap.sum())
        self._squares += float(np.square(gap).sum())
        self._expected += float(np.square(x).sum())
        self._got += float(np.square(y).sum())
        self._dot += float((x * y).sum())
        self._note(expected, got, gap, bad, puzzles, refilled)

    def _note(
        self, expected: Array, got: Array, gap: Array, bad: Array, puzzles: Array, refilled: bool
    ) -> None:
        """Keep the worst place: the first non-finite one, otherwise the largest gap."""
        largest = float(gap.max(initial=0.0))
        is_worst = bool(bad.any()) or largest > self._max
        if self._nonfinite == 0 and is_worst:
            flat = int(np.argmax(bad) if bad.any() else np.argmax(gap))
            row, *position = (int(i) for i in np.unravel_index(flat, gap.shape))
            values = float(expected.flat[flat]), float(got.flat[flat])
            self._worst = Place(int(puzzles[row]), refilled, tuple(position), *values)
        self._nonfinite += int(np.count_nonzero(bad))
        self._max = max(self._max, largest)

    def error(self) -> TensorError:
        """What the sums come to."""
        norms = math.sqrt(self._expected * self._got)
        same = self._squares == 0
        return TensorError(
            step=self._step,
            tensor=self._tensor,
            dtype=self._dtype,
            elements=self._elements,
            max_abs=self._max,
            mean_abs=self._abs / max(self._elements, 1),
            relative_l2=relative(self._squares, self._expected),
            cosine=self._dot / norms if norms else float(same),
            unequal=self._unequal,
            nonfinite=self._nonfinite,
            reference_nonfinite=self._reference_nonfinite,
            reference_leaks=self._reference_leaks,
            worst=self._worst,
        )


def relative(difference: float, reference: float) -> float:
    """The relative L2 error from two sums of squares; 0/0 is no error, x/0 an infinite one."""
    if difference == 0:
        return 0.0
    return math.sqrt(difference / reference) if reference else math.inf
