"""When a puzzle is done, and when its answer is sure. Knows the contract's halt rule and numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trm_runtime.contract import HaltRule
from trm_runtime.solution import STOP_REASONS

Array = np.ndarray[Any, Any]

RUNNING = -1
"""In the place of an index into STOP_REASONS: not stopped yet."""


_HALTED, _MAX_STEPS = STOP_REASONS.index("halted"), STOP_REASONS.index("max_steps")
_FEW = 4  # numbers, up to which Python compares them sooner than numpy


def _any_above(values: Array, limit: float) -> bool:
    """Whether any of these numbers, none of them NaN, is above the limit."""
    if len(values) <= _FEW:
        return len(values) > 0 and max(values.tolist()) > limit
    return bool(np.count_nonzero(values > limit))


@dataclass(frozen=True)
class HaltPolicy:
    """When a puzzle is done: what is given of both thresholds holds, or it took max_steps."""

    rule: HaltRule  # for the score
    threshold: float | None  # the score is above this, in logits; None: whatever the score is
    max_steps: int
    settled: float | None = None  # the states moved less than this; None: however far they moved
    measured: bool = False  # whether it is known how far they moved; always with `settled`

    def reasons(self, steps: Array, q_halt: Array, q_continue: Array, moved: Array) -> Array | None:
        """(n,) int8: an index into STOP_REASONS, or RUNNING; None if all rows are running."""
        if not _any_above(steps, self.max_steps - 1) and self._none_halts(q_halt, q_continue):
            return None
        reasons = np.full(len(steps), RUNNING, dtype=np.int8)
        reasons[steps >= self.max_steps] = _MAX_STEPS
        reasons[self._halted(q_halt, q_continue, moved)] = _HALTED
        return reasons

    def _none_halts(self, q_halt: Array, q_continue: Array) -> bool:
        """Whether it is known from the scores alone that no row halts."""
        if self.threshold is None:
            return self.settled is None
        return not _any_above(self.rule.score(q_halt, q_continue), self._limit)

    def _halted(self, q_halt: Array, q_continue: Array, moved: Array) -> Array:
        if self.threshold is None and self.settled is None:
            return np.zeros(len(moved), dtype=bool)
        if self.settled is None:
            return self.confident(q_halt, q_continue)
        settled: Array = moved < np.float32(self.settled)
        return settled if self.threshold is None else settled & self.confident(q_halt, q_continue)

    def confident(self, q_halt: Array, q_continue: Array) -> Array:
        """(n,) bool: the score is above the threshold, or the rule's own if that is None."""
        above: Array = self.rule.score(q_halt, q_continue) > self._limit
        return above

    @cached_property
    def _limit(self) -> float:
        own = self.rule.threshold if self.threshold is None else self.threshold
        with np.errstate(over="ignore"):  # a threshold beyond float32 is infinite
            return float(np.float32(own))
