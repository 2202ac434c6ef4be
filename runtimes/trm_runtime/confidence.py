"""How a probability that an answer is right is computed, a part of the step contract.

The coefficients are fitted on puzzles with solutions by `trm-export tune --confidence`; the formula
is in `certainty` and docs/contract.md. Standard library only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from trm_runtime.strict_json import Fields

KEY = "confidence"  # of the contract


@dataclass(frozen=True)
class Confidence:
    """The coefficients of a logistic regression; `confidence_problems` has the rules."""

    bias: float
    score: float  # of the halting score, in logits
    moved: float  # of the logarithm of how far the states moved; 0: it is not measured
    agreement: float  # of the share of tries with the same answer
    puzzles: int  # it was fitted on so many
    tries: int  # of each of them, at most

    @property
    def used(self) -> tuple[str, ...]:
        """What it depends on; nothing for a constant, which cannot tell right from wrong."""
        return tuple(name for name in ("score", "moved", "agreement") if getattr(self, name))


def confidence_problems(rule: Confidence | None, granularity: str) -> list[str]:
    """Broken rules of the coefficients."""
    if rule is None:
        return []
    problems = [
        f"{KEY}.{name}: expected a finite number, got {value}"
        for name, value in asdict(rule).items()
        if not math.isfinite(value)
    ]
    problems += [
        f"{KEY}.{name}: expected 1 or more, got {value}"
        for name, value in (("puzzles", rule.puzzles), ("tries", rule.tries))
        if value < 1
    ]
    if granularity == "loop" and rule.moved:
        problems.append(f"{KEY}.moved: expected 0, because no driver sees the states of a loop")
    return problems


def read_confidence(parent: Fields) -> Confidence | None:
    """The coefficients in a contract that has that key; null is the same as none."""
    if parent.values.get(KEY) is None:
        return None
    fields = parent.object(KEY, tuple(Confidence.__dataclass_fields__))
    return Confidence(
        bias=fields.number("bias"),
        score=fields.number("score"),
        moved=fields.number("moved"),
        agreement=fields.number("agreement"),
        puzzles=fields.integer("puzzles"),
        tries=fields.integer("tries"),
    )
