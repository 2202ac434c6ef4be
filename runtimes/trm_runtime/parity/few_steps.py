"""A recording of few steps, for a quick check: the first ones and the last one before `max_steps`,
which the counter of the puzzles is set to.

What a step may do wrong shows in these: the start of a carry, its continuation, a reset in
mid-flight, and the end. Of a model whose steps take seconds, three steps of one puzzle and of one
refilled slot are enough: at the third one the slot is halted, gets another puzzle, and its carry
has random values, half of them NaN. In five steps each refilled slot is reset at least once, and
goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

FEW, SOME = 3, 5  # steps
SLOT = 3  # the number of the refilled slot; see `slots`


def recorded(states: Mapping[str, Array]) -> int:
    """How many steps the states (T, ...) of a recording have."""
    return len(next(iter(states.values())))


def numbers(contract: StepContract, steps: int) -> list[int]:
    """The number of each recorded step, from 1: of a few, the last is `max_steps`."""
    return [*range(1, steps), contract.max_steps]


def entering(contract: StepContract, step: int, steps: int, carry: Mapping[str, Array]) -> Arrays:
    """The carry that enters a recorded step (from 1) of `steps`."""
    found = dict(carry)
    if step == steps < contract.max_steps and "steps" in found:
        found["steps"] = np.full_like(found["steps"], contract.max_steps - 1)
        found["halted"] = np.zeros_like(found["halted"])
    return found
