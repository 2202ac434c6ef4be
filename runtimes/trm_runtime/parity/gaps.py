"""Differences of tensors, as sums for each row and step, and the errors of any group of rows.

The sums of a row do not depend on the other rows of its batch. So no number made of them depends on
the order of batches, or on how the work was distributed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.contract import HaltRule
from trm_runtime.message_text import counted
from trm_runtime.parity.gates import Gates
from trm_runtime.tensors import AnySpec

Array = np.ndarray[Any, Any]

# For a row of a tensor at a step: sums of squares, of products and of the absolute difference, the
# largest difference; how many elements differ, or are not finite; the worst element and its values.
# `explained`: a `halted` that differs because the halting scores are on two sides of the threshold.
_SUMS = ("squares", "reference", "candidate", "product", "absolute", "largest", "was", "became")
_COUNTS = ("unequal", "explained", "nonfinite", "reference_nonfinite", "place")
HALTED = "halted"
FIELDS = {**dict.fromkeys(_SUMS, np.float64), **dict.fromkeys(_COUNTS, np.int64)}


@dataclass(frozen=True)
class Place:
    """One element of a tensor, and its value on both sides."""

    puzzle: int  # row of the puzzles
    refilled: bool  # in a slot that gets new puzzles between steps
    position: tuple[int, ...]  # within the row: (position, channel) of a state
    expected: float
    got: float


@dataclass(frozen=True)
class Size:
    """The difference of one float tensor at one step, over some rows.

    The errors are infinite where a value is NaN or infinite and that of the reference is not.
    """

    rows: int
    max_abs: float
    mean_abs: float
    relative_l2: float  # |candidate - reference| / |reference|
    cosine: float
    sqnr_db: float  # signal to noise, 20 log10 of 1 / relative_l2; infinite without a difference


@dataclass(frozen=True)
class TensorDiff:
    """The forced error of one tensor at one step, over all rows; infinite as in `Size`."""

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
    reference_leaks: int  # of these, in slots that get new puzzles between steps
    worst: Place | None  # a non-finite element if there is one, else the largest difference

    def _leak(self) -> str:
        if self.reference_leaks < self.reference_nonfinite:  # also without an old carry
            return ""
        return (
            ", all in slots that were just refilled: the model uses the old carry of a halted row; "
            "choose the new state by a select, not by arithmetic"
        )

    def problem(self, gates: Gates) -> str | None:
        """Why this fails the gates, or None."""
        if self.reference_nonfinite:
            values = counted(self.reference_nonfinite, "NaN or infinite value")
            return f"the reference itself has {values}{self._leak()}"
        if self.nonfinite:
            return counted(self.nonfinite, "NaN or infinite value")
        if self.dtype != "float32":
            return f"{self.unequal} of {self.elements} values differ" if self.unequal else None
        if gates.relative_l2 is not None and not self.relative_l2 <= gates.relative_l2:
            return f"relative L2 {self.relative_l2:.2e} is above {gates.relative_l2:.0e}"
        if gates.cosine is not None and not self.cosine >= gates.cosine:
            return f"cosine {self.cosine:.6f} is below {gates.cosine}"
        return None


@dataclass(frozen=True)
class Gaps:
    """The differences of K tensors over T steps of R rows.

    `sums` has an array (T, K, R) for every name in FIELDS.
    """

    specs: tuple[AnySpec, ...]
    sums: dict[str, Array]

    @classmethod
    def empty(cls, specs: Sequence[AnySpec], steps: int, rows: int) -> Gaps:
        """No differences yet."""
        shape = (steps, len(specs), rows)
        return cls(tuple(specs), {name: np.zeros(shape, dtype) for name, dtype in FIELDS.items()})

    @classmethod
    def joined(cls, parts: Sequence[Gaps]) -> Gaps:
        """The rows of all parts in order; at least one part, all of the same tensors."""
        sums = {name: np.concatenate([p.sums[name] for p in parts], axis=2) for name in FIELDS}
        return cls(parts[0].specs, sums)

    @property
    def rows(self) -> int:
        """R."""
        return int(self.sums["squares"].shape[2])

    def rows_where(self, kept: Array) -> Gaps:
        """The rows of a mask (R,)."""
        return Gaps(self.specs, {name: array[:, :, kept] for name, array in self.sums.items()})

    def add(
        self,
        step: int,
        rows: Array,
        expected: Mapping[str, Array],
        got: Mapping[str, Array],
        rule: HaltRule | None = None,
    ) -> None:
        """Add both sides of a step (from 1), by tensor, (n, ...) for these n of the rows.

        `rule`: by which the graph itself may halt.
        """
        for k, spec in enumerate(self.specs):
            sums = _differences(expected[spec.name], got[spec.name])
            if spec.name == HALTED and rule is not None:
                sums["explained"] = sums["unequal"] * _crossed(rule, expected, got)
            for name, values in sums.items():
                self.sums[name][step - 1, k, rows] = values

    def size(self, step: int, k: int, group: Array) -> Size | None:
        """Over the rows of a group (R,) bool; None if it is empty."""
        if not group.any():
            return None
        sums = {name: self.sums[name][step - 1, k, group] for name in FIELDS}
        return _size(self._elements(k), sums)

    def error(
        self, step: int, k: int, puzzles: Array, refilled: Array, *, lossy: bool = False
    ) -> TensorDiff:
        """Over all rows; `puzzles` and `refilled` (R,) tell their origin.

        In a `lossy` precision a `halted` does not count that its own score explains: the error of
        the score is judged, and so are the halting steps.
        """
        at = {name: self.sums[name][step - 1, k] for name in FIELDS}
        spec, size = self.specs[k], _size(self._elements(k), at)
        return TensorDiff(
            step=step,
            tensor=spec.name,
            dtype=spec.dtype,
            elements=self._elements(k) * self.rows,
            max_abs=size.max_abs,
            mean_abs=size.mean_abs,
            relative_l2=size.relative_l2,
            cosine=size.cosine,
            unequal=int(at["unequal"].sum() - (at["explained"].sum() if lossy else 0)),
            nonfinite=int(at["nonfinite"].sum()),
            reference_nonfinite=int(at["reference_nonfinite"].sum()),
            reference_leaks=int(at["reference_nonfinite"][refilled].sum()),
            worst=self._worst(spec, at, puzzles, refilled),
        )

    def _elements(self, k: int) -> int:
        return math.prod(size or 1 for size in self.specs[k].shape[1:])

    @staticmethod
    def _worst(
        spec: AnySpec, at: Mapping[str, Array], puzzles: Array, refilled: Array
    ) -> Place | None:
        broken = at["nonfinite"] > 0
        if not broken.any() and not at["largest"].any():
            return None
        row = int(np.argmax(broken) if broken.any() else np.argmax(at["largest"]))
        shape = tuple(size or 1 for size in spec.shape[1:])
        position = tuple(int(i) for i in np.unravel_index(int(at["place"][row]), shape))
        values = float(at["was"][row]), float(at["became"][row])
        return Place(int(puzzles[row]), bool(refilled[row]), position if shape else (), *values)


def _crossed(rule: HaltRule, expected: Mapping[str, Array], got: Mapping[str, Array]) -> Array:
    """(n,) bool: each side's `halted` is its own decision, and the two decisions differ."""
    was, became = (
        rule.score(side["q_halt_logits"], side["q_continue_logits"]) > rule.threshold
        for side in (expected, got)
    )
    own = (expected[HALTED] == was) & (got[HALTED] == became)
    crossed: Array = own & (was != became)
    return crossed


def _differences(expected: Array, got: Array) -> dict[str, Array]:
    """Every field for n rows, each (n,), from both tensors (n, ...)."""
    n = len(expected)
    raw, other = expected.reshape(n, -1), got.reshape(n, -1)
    finite, bad = np.isfinite(raw) & np.isfinite(other), np.isfinite(raw) & ~np.isfinite(other)
    x = np.where(finite, raw, 0).astype(np.float64)
    y = np.where(finite, other, 0).astype(np.float64)
    gap = np.abs(y - x)
    broken = bad.any(axis=1)
    place = np.where(broken, bad.argmax(axis=1), gap.argmax(axis=1))
    rows = np.arange(n)
    return {
        "squares": np.square(gap).sum(axis=1),
        "reference": np.square(x).sum(axis=1),
        "candidate": np.square(y).sum(axis=1),
        "product": (x * y).sum(axis=1),
        "absolute": gap.sum(axis=1),
        "largest": gap.max(axis=1),
        "was": raw[rows, place],
        "became": other[rows, place],
        "unequal": np.count_nonzero(gap, axis=1) + np.count_nonzero(bad, axis=1),
        "explained": np.zeros(n, np.int64),
        "nonfinite": np.count_nonzero(bad, axis=1),
        "reference_nonfinite": np.count_nonzero(~np.isfinite(raw), axis=1),
        "place": place,
    }


def _size(elements: int, sums: Mapping[str, Array]) -> Size:
    """The errors from the sums of some rows of so many elements each."""
    total = {name: float(sums[name].sum()) for name in _SUMS[:5]}
    rows = len(sums["squares"])
    if sums["nonfinite"].any():
        return Size(rows, math.inf, math.inf, math.inf, -math.inf, -math.inf)
    norms = math.sqrt(total["reference"] * total["candidate"])
    error = relative(total["squares"], total["reference"])
    return Size(
        rows=rows,
        max_abs=float(sums["largest"].max(initial=0.0)),
        mean_abs=total["absolute"] / max(rows * elements, 1),
        relative_l2=error,
        cosine=total["product"] / norms if norms else float(total["squares"] == 0),
        sqnr_db=-20 * math.log10(error) if error else math.inf,
    )


def relative(difference: float, reference: float) -> float:
    """The relative L2 error from two sums of squares; 0 for 0/0, infinity for x/0."""
    if difference == 0:
        return 0.0
    return math.sqrt(difference / reference) if reference else math.inf
