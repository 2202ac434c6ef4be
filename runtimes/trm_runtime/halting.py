"""When a puzzle is done, and when its answer is sure. Knows the contract's halt rule and numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.contract import HaltRule
from trm_runtime.solution import STOP_REASONS

Array = np.ndarray[Any, Any]

RUNNING = -1
"""In the place of an index into STOP_REASONS: not stopped yet."""


@dataclass(frozen=True)
class HaltPolicy:
    """When a puzzle is done: what is given of both thresholds holds, or it took max_steps."""

    rule: HaltRule  # for the score
    threshold: float | None  # the score is above this, in logits; None: whatever the score is
    max_steps: int
    settled: float | None = None  # the states moved less than this; None: however far they moved
    measured: bool = False  # whether it is known how far they moved; always with `settled`

    def reasons(self, steps: Array, q_halt: Array, q_continue: Array, moved: Array) -> Array:
        """(n,) int8: an index into STOP_REASONS, or RUNNING."""
        reasons = np.full(len(steps), RUNNING, dtype=np.int8)
        reasons[steps >= self.max_steps] = STOP_REASONS.index("max_steps")
        halted = np.full(len(steps), self.threshold is not None or self.settled is not None)
        if self.threshold is not None:
            halted &= self.confident(q_halt, q_continue)
        if self.settled is not None:
            halted &= moved < np.float32(self.settled)
        reasons[halted] = STOP_REASONS.index("halted")
        return reasons

    def confident(self, q_halt: Array, q_continue: Array) -> Array:
        """(n,) bool: the score is above the threshold, or the rule's own if that is None."""
        own = self.rule.threshold if self.threshold is None else self.threshold
        with np.errstate(over="ignore"):  # a threshold beyond float32 is infinite
            threshold = np.float32(own)
        above: Array = self.rule.score(q_halt, q_continue) > threshold
        return above
