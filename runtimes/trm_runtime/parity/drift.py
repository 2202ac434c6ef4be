"""The numbers of every step: the size of differences, their growth, and when they exceed the floor.

Puzzles are split into *settled* ones, which the reference solves, and the others; see the package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.parity.gaps import Gaps, Size

Array = np.ndarray[Any, Any]

FLOOR_FACTOR = 10.0  # a drift this many times the control's exceeds the noise floor
_SATURATED = 0.3  # relative L2 above which two runs are independent
GROUPS = ("all", "settled", "unsettled")


@dataclass(frozen=True)
class Split:
    """One float tensor at one step; None if no puzzle is of that kind."""

    all: Size
    settled: Size | None
    unsettled: Size | None


@dataclass(frozen=True)
class StepSizes:
    """The differences between the two sides after a step (from 1)."""

    step: int
    cells_equal: float  # share of equal argmax cells, all puzzles
    tensors: dict[str, Split]  # every float tensor


@dataclass(frozen=True)
class Growth:
    """The growth factor per step of the relative L2 of a free run: exp of a least squares slope.

    Fitted to the steps at which the runs are neither equal nor independent.
    """

    factor: float
    steps: int  # number of fitted steps


def step_sizes(gaps: Gaps, equal: Array, settled: Array) -> tuple[StepSizes, ...]:
    """Every step of R rows; `equal` (T, R) share of equal cells, `settled` (R,) bool."""
    if not gaps.rows:
        return ()
    names = [(k, s.name) for k, s in enumerate(gaps.specs) if s.dtype == "float32"]
    everything = np.ones_like(settled)
    found = []
    for step in range(1, len(equal) + 1):
        tensors = {name: _split(gaps, step, k, everything, settled) for k, name in names}
        found.append(StepSizes(step, float(equal[step - 1].mean()), tensors))
    return tuple(found)


def _split(gaps: Gaps, step: int, k: int, everything: Array, settled: Array) -> Split:
    total = gaps.size(step, k, everything)
    if total is None:
        raise ValueError("no rows to measure")
    return Split(total, gaps.size(step, k, settled), gaps.size(step, k, ~settled))


def growth(free: Sequence[StepSizes]) -> dict[str, dict[str, Growth | None]]:
    """For every float tensor and group; None if fewer than two steps can be fitted."""
    names = list(free[0].tensors) if free else []
    return {name: {group: fitted(curve(free, name, group)) for group in GROUPS} for name in names}


def curve(free: Sequence[StepSizes], name: str, group: str) -> list[float | None]:
    """The relative L2 of a tensor at each step; None if there are no such puzzles."""
    sizes: list[Size | None] = [getattr(step.tensors[name], group) for step in free]
    return [None if size is None else size.relative_l2 for size in sizes]


def fitted(errors: Sequence[float | None]) -> Growth | None:
    """The growth of the errors of steps 1, 2, ..."""
    points = [(t, math.log(e)) for t, e in enumerate(errors) if e and e < _SATURATED]
    if len(points) < 2:
        return None
    t, y = np.array(points).T
    slope = float(((t - t.mean()) * (y - y.mean())).sum() / np.square(t - t.mean()).sum())
    return Growth(math.exp(slope), len(points))


def above_floor(free: Sequence[StepSizes], floor: Sequence[StepSizes]) -> dict[str, int | None]:
    """The first step at which each tensor drifts FLOOR_FACTOR times as far as the control."""
    first: dict[str, int | None] = {}
    for name in free[0].tensors if free else ():
        pairs = zip(free, floor)
        above = (f.step for f, c in pairs if _is_above(f.tensors[name].all, c.tensors, name))
        first[name] = next(above, None)
    return first


def _is_above(size: Size, control: Mapping[str, Split], name: str) -> bool:
    return name in control and size.relative_l2 > FLOOR_FACTOR * control[name].all.relative_l2


def read_steps(document: Sequence[Mapping[str, Any]]) -> tuple[StepSizes, ...]:
    """The steps of a JSON document, in which infinities are null.

    Raises AttributeError, LookupError, OverflowError, TypeError or ValueError for another document.
    """
    return tuple(
        StepSizes(
            int(step["step"]),
            float(step["cells_equal"]),
            {
                name: Split(_read(s["all"]), _maybe(s["settled"]), _maybe(s["unsettled"]))
                for name, s in step["tensors"].items()
            },
        )
        for step in document
    )


def _read(size: Mapping[str, Any]) -> Size:
    rows = size["rows"]
    if type(rows) is not int:
        raise TypeError("rows: expected an integer")
    numbers: dict[str, Any] = {name: _number(value) for name, value in size.items()}
    return Size(**{**numbers, "rows": rows})


def _number(value: Any) -> float:
    if type(value) not in (int, float, type(None)):
        raise TypeError("expected a number or null")
    return math.inf if value is None else float(value)


def _maybe(size: Mapping[str, Any] | None) -> Size | None:
    return None if size is None else _read(size)
