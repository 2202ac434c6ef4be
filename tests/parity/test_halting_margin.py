"""A graph that halts by itself, in a lossy precision: its decision is judged by its own score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.parity.fakes import AlteredRunner, toy_puzzles
from tests.runtime.fakes import make_contract
from trm_runtime.parity import GATES, ParityResult, check, record

LOSSY = replace(GATES["int8"], cosine=0.5, exact_drop=None, mean_steps=None)


def halting(shift: float, alter: Callable[[dict[str, Any]], object] | None = None) -> Any:
    """The toy model with `halted` from its own score, which is shifted."""

    def change(given: dict[str, Any], found: dict[str, Any]) -> None:
        found["q_halt_logits"] += np.float32(shift)
        found["halted"][:] = found["q_halt_logits"] > 0
        if alter is not None:
            alter(found)

    return change


def judged(
    precision: str, shift: float, alter: Callable[[dict[str, Any]], object] | None = None
) -> ParityResult:
    reference = AlteredRunner(halting(0.0))
    candidate = AlteredRunner(halting(shift, alter), make_contract(precision=precision))
    gates = LOSSY if precision == "int8" else replace(GATES["fp32"], relative_l2=None)
    return check(record(reference, toy_puzzles()), candidate, gates=gates, steps_only=True)


@pytest.mark.parametrize("shift", [-0.9, -0.6, 0.6])
def test_a_decision_that_its_score_explains_is_no_fault_in_int8(shift: float) -> None:
    assert judged("int8", shift).broken is None
    assert judged("int8", 0.1).broken is None


def test_it_stays_one_in_float32() -> None:
    broken = judged("fp32", -0.6).broken
    assert broken is not None
    assert "halted: " in broken.problems[0]


def test_a_decision_against_its_score_is_a_fault() -> None:
    def flip(found: dict[str, Any]) -> None:
        found["halted"][:] = ~found["halted"]

    broken = judged("int8", 0.1, flip).broken
    assert broken is not None
    assert "halted: " in broken.problems[0]
