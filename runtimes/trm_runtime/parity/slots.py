"""Slots that change their puzzle in mid-flight: what a busy server does, and worse.

Every third step such a slot enters halted, with a new puzzle and a carry that holds the state of
the last one or, in every other slot, garbage, half of it NaN; on all other steps the puzzle beside
its carry is another than the one in it. So a step that forgets to reset, or looks at the wrong
puzzle, cannot hide. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

_PERIOD = 3  # a refilled slot takes a new puzzle at every third step
_GARBAGE = 10.0  # the scale of garbage states
_LEAST, _MOST, _SHARE = 6, 64, 8  # refilled slots: one for every eight puzzles, within limits


def refilled_count(puzzles: int) -> int:
    """How many refilled slots go with so many puzzles."""
    return min(max(puzzles // _SHARE, _LEAST), _MOST)


def puzzle_rows(numbers: Array, step: int, puzzles: int) -> Array:
    """(R,) int64: the puzzle that each slot is shown at a step (from 1)."""
    rows: Array = (numbers + step) % puzzles
    return rows


def shown(contract: StepContract, numbers: Array, step: int, tokens: Mapping[str, Array]) -> Arrays:
    """The inputs of a step: puzzles shifted, and under many identifiers."""
    rows = puzzle_rows(numbers, step, len(tokens["inputs"]))
    inputs = {name: array[rows] for name, array in tokens.items()}
    inputs["inputs"] = np.roll(inputs["inputs"], step, axis=1)
    if contract.num_puzzle_identifiers is not None and "puzzle_identifiers" in inputs:
        identifiers = (numbers + step) % contract.num_puzzle_identifiers
        inputs["puzzle_identifiers"] = identifiers.astype(np.int32)
    return inputs


def disturbed(
    contract: StepContract, numbers: Array, step: int, carry: Mapping[str, Array]
) -> Arrays:
    """The carry of a step, with slots reset when it is their turn."""
    reset = (numbers + step) % _PERIOD == 0
    if step == 1 or not reset.any():
        return dict(carry)
    found = {name: array.copy() for name, array in carry.items()}
    rng = np.random.default_rng(step)
    garbage = reset & (numbers // _PERIOD % 2 == 1)
    for spec in contract.carry:
        array = found[spec.name]
        if spec.dtype == "float32":
            array[garbage] = rng.normal(0.0, _GARBAGE, array[garbage].shape)
            array[garbage & (numbers % 2 == 1)] = np.nan
        elif spec.name == "steps":
            array[garbage] = contract.max_steps + step
    found["halted"][reset] = True
    return found
