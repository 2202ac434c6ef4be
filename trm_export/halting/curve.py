"""Accuracy against steps, for every halting threshold: the curve, its Pareto front, a choice.

Works on the results of N puzzles when all T steps are run: `scores` (T, N) float32, the halting
score after each step, and `exact` (T, N) bool, whether every cell of that step's answer is right. A
puzzle stops at the first step whose score is above the threshold, else at the last. Numpy only;
knows neither models nor files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trm_runtime.parity.counts import wilson

Array = np.ndarray[Any, Any]

MOST_CANDIDATES = 200
_EPSILON = 1e-9  # shares are quotients, and so is their limit


@dataclass(frozen=True)
class Trace:
    """The results of N puzzles after each of T steps.

    A puzzle with NaN or infinity stops at that step for every threshold: its score there is
    infinite, its movement 0, and its answer that of the step before.
    """

    scores: Array  # (T, N) float32
    exact: Array  # (T, N) bool
    moved: Array | None = None  # (T, N) float32, relative movement of the states, if measured

    @property
    def nonfinite(self) -> int:
        """The number of those puzzles."""
        return int(np.isposinf(self.scores).any(axis=0).sum())


@dataclass(frozen=True)
class Point:
    """One threshold on N puzzles."""

    threshold: float  # logits, or the movement of the states
    exact: float  # share of puzzles answered exactly
    interval: tuple[float, float]  # of that share, Wilson, 95 %
    mean_steps: float
    mean_steps_solved: float | None  # over the puzzles answered exactly; None without any


def latched_steps(scores: Array, threshold: float) -> Array:
    """(N,) int64: the step, from 1, at which each puzzle stops."""
    hits = scores > threshold
    return np.where(hits.any(axis=0), hits.argmax(axis=0) + 1, len(scores))


def latched(values: Array, steps: Array) -> Array:
    """The values (N, ...) of those steps (N,), out of all (T, N, ...)."""
    selected: Array = values[steps - 1, np.arange(len(steps))]
    return selected


def point(scores: Array, exact: Array, threshold: float) -> Point:
    """The accuracy and the steps of one threshold."""
    steps = latched_steps(scores, threshold)
    return point_of(threshold, latched(exact, steps), steps)


def point_of(threshold: float, right: Array, steps: Array) -> Point:
    """A threshold with which these answers (N,) are right, after so many steps (N,)."""
    hits, count = int(right.sum()), len(right)
    return Point(
        threshold=threshold,
        exact=hits / count,
        interval=wilson(hits, count),
        mean_steps=float(steps.mean()),
        mean_steps_solved=float(steps[right].mean()) if hits else None,
    )


def curve(
    scores: Array, exact: Array, thresholds: Iterable[float] | None = None
) -> tuple[Point, ...]:
    """A point for each threshold, in ascending order; by default for all `candidates`."""
    chosen = candidates(scores) if thresholds is None else thresholds
    return tuple(point(scores, exact, threshold) for threshold in sorted({*chosen}))


def candidates(scores: Array, most: int = MOST_CANDIDATES) -> tuple[float, ...]:
    """Thresholds with different results, ascending: from one step for each puzzle to all T.

    Between two neighbours lies at least one score that some puzzle stops at, that is one higher
    than all of its earlier scores. Where there are more than `most`, quantiles of those scores
    are taken. Empty without a finite score.
    """
    before = np.fmax.accumulate(scores, axis=0)[:-1]
    is_record = np.concatenate([np.ones_like(scores[:1], bool), ~(scores[1:] <= before)])
    records = np.unique(scores[is_record & np.isfinite(scores)]).astype(float)
    if not len(records):
        return ()
    between = (records[:-1] + records[1:]) / 2
    if len(between) > most - 2:
        between = between[np.linspace(0, len(between) - 1, most - 2).round().astype(int)]
    ends = (math.ceil(records[0]) - 1.0, float(math.ceil(records[-1])))
    return (ends[0], *between.round(4).tolist(), ends[1])


def settled_curve(
    moved: Array, exact: Array, also: Iterable[float] = (), sure: Array | None = None
) -> tuple[Point, ...]:
    """A point for each threshold of movement, in ascending order: (T, N) each.

    A puzzle stops at the first step in which its states moved less, and, with `sure`, at which
    that is true as well. `also`: thresholds besides those of the movements themselves.
    """
    stops = np.inf if sure is None else np.where(sure, np.inf, -np.inf)
    with np.errstate(divide="ignore"):
        exponents = candidates(-np.log10(moved))
    thresholds = {float(f"{10**-exponent:.4g}") for exponent in exponents}
    signal = np.minimum(-moved, stops)
    found = curve(signal, exact, [-threshold for threshold in {*thresholds, *also}])
    return tuple(replace(one, threshold=-one.threshold) for one in reversed(found))


def pareto(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points for which no other is more accurate in as few steps, or as accurate in fewer.

    From the fewest steps to the most; of equal points the first.
    """
    front: list[Point] = []
    for candidate in sorted(points, key=lambda p: (p.mean_steps, -p.exact)):
        if not front or candidate.exact > front[-1].exact:
            front.append(candidate)
    return tuple(front)


def choose(points: Sequence[Point], lose: float, best: float | None = None) -> Point:
    """The fewest steps among the points that lose at most a share `lose` against `best`.

    `best` is by default the best share of the points themselves. Where no point reaches it, the
    most accurate is chosen. The choice is always on the Pareto front, so that no point of the
    curve is better in both.
    """
    most = max(point.exact for point in points)
    least = min(most, (most if best is None else best) - lose)
    good = (point for point in points if point.exact >= least - _EPSILON)
    return min(good, key=lambda point: (point.mean_steps, -point.exact))
