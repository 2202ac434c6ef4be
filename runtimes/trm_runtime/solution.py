"""What the loop hands out: one event a step while it runs, one solution at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

STOP_REASONS = ("halted", "max_steps", "deadline", "cancelled", "nonfinite")


@dataclass(frozen=True)
class StepEvent:
    """What happened in one engine call; n puzzles took part in a batch of B slots.

    `outputs` and `carry` are the engine's own arrays: read them at once, do not change them.
    """

    rows: np.ndarray[Any, Any]  # (n,) int64: which puzzles, as rows of the inputs given to solve
    slots: np.ndarray[Any, Any]  # (n,) int64: where each of them sits on axis 0 of outputs, carry
    steps: np.ndarray[Any, Any]  # (n,) int32: steps each has taken, this one included
    answers: np.ndarray[Any, Any]  # (n, S) int32: answers so far
    q_halt: np.ndarray[Any, Any]  # (n,) float32 logits
    q_continue: np.ndarray[Any, Any]  # (n,) float32 logits
    finished: np.ndarray[Any, Any]  # (n,) bool: done with this step
    outputs: Mapping[str, np.ndarray[Any, Any]]  # (B, ...) as in the contract, logits among them
    carry: Mapping[str, np.ndarray[Any, Any]]  # (B, ...) the carry after this step


@dataclass(frozen=True)
class Solution:
    """The answers to N puzzles of S cells, each from the step at which its puzzle stopped.

    `stop_reasons` has one of STOP_REASONS for every puzzle. A puzzle stopped by "deadline" or
    "cancelled" has its latest answer; one stopped by "nonfinite" the answer of its last finite
    step, while `steps` counts the step that went wrong. A puzzle without any finite step has
    answer 0 (padding) everywhere and NaN for both q values; one that was never stepped has
    steps 0.
    """

    answers: np.ndarray[Any, Any]  # (N, S) int32 token ids
    steps: np.ndarray[Any, Any]  # (N,) int32
    q_halt: np.ndarray[Any, Any]  # (N,) float32 logits, of the step that gave the answer
    q_continue: np.ndarray[Any, Any]  # (N,) float32 logits, likewise
    stop_reasons: tuple[str, ...]  # N of them

    def __len__(self) -> int:
        return len(self.stop_reasons)

    def to_json(self) -> str:
        """One JSON object with the fields as lists; a q value that is NaN becomes null."""
        fields = {
            "answers": self.answers.tolist(),
            "steps": self.steps.tolist(),
            "q_halt": [finite_or_none(value) for value in self.q_halt.tolist()],
            "q_continue": [finite_or_none(value) for value in self.q_continue.tolist()],
            "stop_reasons": list(self.stop_reasons),
        }
        return json.dumps(fields, allow_nan=False)


def finite_or_none(value: float) -> float | None:
    """The value, or None (JSON null) for NaN and infinities."""
    return value if math.isfinite(value) else None
