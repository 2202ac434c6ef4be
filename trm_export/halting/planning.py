"""The choice of threshold, tries and steps for a limit of steps, from the traces of all tries.

Numpy only; knows neither files nor clocks: what a step costs comes from the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trm_export.halting.curve import Trace, candidates
from trm_export.halting.trying import least_sure, outcomes

Array = np.ndarray[Any, Any]

MOST_THRESHOLDS = 40
_EPSILON = 1e-9  # shares are quotients, and so is their limit


@dataclass(frozen=True)
class Setting:
    """How a file is run, and what its N puzzles give."""

    threshold: float  # logits
    tries: int
    max_steps: int  # of a try
    right: Array  # (N,) bool
    steps: Array  # (N,) int64, of all tries together


def settings(
    traces: Sequence[Trace], own: float, budget: int | None, *, timed: bool
) -> Iterator[Setting]:
    """Every setting that takes at most `budget` steps a puzzle; `own` is the file's threshold.

    With `timed` a clock ends the last try after them. Without, they are those of whole tries.
    """
    first = traces[0]
    useful = [t for t in candidates(first.scores, MOST_THRESHOLDS) if t <= least_sure(first, own)]
    every = len(first.scores)
    least = every if budget is None else min(budget, every)
    shares = {every, every // 2, every // 4, every // 8, least}
    for most in sorted(steps for steps in shares if 0 < steps <= least):
        for threshold in sorted({*useful, own}):
            limit = budget if timed else None
            for number, found in enumerate(outcomes(traces, threshold, most, limit), 1):
                if limit is None and budget is not None and number * most > budget:
                    break
                yield Setting(threshold, number, most, found.right, found.steps)


@dataclass(frozen=True)
class Candidates:
    """C settings of several files on the same N puzzles, with the cost of each puzzle."""

    right: Array  # (C, N) bool
    cost: Array  # (C, N) float, such as milliseconds

    @cached_property
    def _means(self) -> dict[int | None, tuple[Array, Array]]:
        """Share of right answers and mean cost of each: of all puzzles, and without either half."""
        others = {None: slice(None), 0: slice(1, None, 2), 1: slice(0, None, 2)}
        return {
            half: (self.right[:, rows].mean(axis=1), self.cost[:, rows].mean(axis=1))
            for half, rows in others.items()
        }

    def chosen(self, exact: float | None, lose: float, without: int | None = None) -> int | None:
        """The index of the cheapest that is right often enough; None without.

        Enough is the share `exact`, or without it `lose` less than the best. `without`: the half of
        the puzzles, 0 or 1, that does not count.
        """
        shares, costs = self._means[without]
        least = shares.max() - lose if exact is None else exact
        good = np.flatnonzero(shares >= least - _EPSILON)
        if not len(good):
            return None
        return int(good[np.lexsort((-shares[good], costs[good]))[0]])

    def expected(self, exact: float | None, lose: float) -> Array:
        """(N,) bool: right answers, each puzzle by the choice that the other half of them makes.

        So no puzzle judges a choice that it took part in. Where a half has no choice for `exact`,
        its most accurate one counts.
        """
        right = np.zeros(self.right.shape[1], bool)
        for half in (0, 1):
            chosen = self.chosen(exact, lose, half)
            if chosen is None:
                chosen = self.chosen(None, 0.0, half)
            right[half::2] = self.right[chosen, half::2]
        return right

    def reaching(self, exact: float | None, lose: float) -> tuple[int, Array, bool]:
        """A choice, the right answers to expect of it (see `expected`), and if they are `exact`.

        A choice is right less often on other puzzles than on those that chose it. So the share that
        it must have on these rises until the expected one is `exact`, up to the most accurate.
        """
        shares = np.unique(self._means[None][0])
        tighter = () if exact is None else (exact, *shares[shares > exact])
        for least in (*tighter, None):
            index, expected = self.chosen(least, lose), self.expected(least, lose)
            met = exact is None or float(expected.mean()) >= exact - _EPSILON
            if met and index is not None:
                break
        assert index is not None  # the last is the most accurate, which there always is
        return index, expected, met
