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
    """When a puzzle is done: its score is above the threshold, or it took max_steps."""

    rule: HaltRule  # for the score
    threshold: float | None  # logits, instead of the rule's own; None: run all steps
    max_steps: int

    def reasons(self, steps: Array, q_halt: Array, q_continue: Array) -> Array:
        """(n,) int8: an index into STOP_REASONS, or RUNNING."""
        reasons = np.full(len(steps), RUNNING, dtype=np.int8)
        reasons[steps >= self.max_steps] = STOP_REASONS.index("max_steps")
        if self.threshold is not None:
            reasons[self.confident(q_halt, q_continue)] = STOP_REASONS.index("halted")
        return reasons

    def confident(self, q_halt: Array, q_continue: Array) -> Array:
        """(n,) bool: the score is above the threshold, or the rule's own if all steps are run."""
        own = self.rule.threshold if self.threshold is None else self.threshold
        with np.errstate(over="ignore"):  # a threshold beyond float32 is infinite
            threshold = np.float32(own)
        above: Array = self.rule.score(q_halt, q_continue) > threshold
        return above
