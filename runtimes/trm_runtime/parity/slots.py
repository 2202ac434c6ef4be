"""Slots that change their puzzle between steps, as on a busy server, and harder.

At every third step the carry of such a slot is halted, its input is a new puzzle, and its carry has
the state of the old one or, in every second slot, random values, half of them NaN; at all other
steps the input is another puzzle than the one in the carry. So a step that does not reset, or that
uses the wrong puzzle, is detected. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

_PERIOD = 3  # a refilled slot gets a new puzzle at every third step
_SCALE = 10.0  # of random states
_LEAST, _MOST, _SHARE = 6, 64, 8  # refilled slots: one for every 8 puzzles, 6 to 64


def refilled_count(puzzles: int) -> int:
    """The number of refilled slots for so many puzzles."""
    return min(max(puzzles // _SHARE, _LEAST), _MOST)


def puzzle_rows(numbers: Array, step: int, puzzles: int) -> Array:
    """(R,) int64: the puzzle that is the input of each slot at a step (from 1)."""
    rows: Array = (numbers + step) % puzzles
    return rows


def shown(contract: StepContract, numbers: Array, step: int, tokens: Mapping[str, Array]) -> Arrays:
    """The inputs of a step: puzzles with shifted cells, and with many identifiers."""
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
    """The carry of a step, with every third slot reset."""
    reset = (numbers + step) % _PERIOD == 0
    if step == 1 or not reset.any():
        return dict(carry)
    found = {name: array.copy() for name, array in carry.items()}
    rng = np.random.default_rng(step)
    random = reset & (numbers // _PERIOD % 2 == 1)
    for spec in contract.carry:
        array = found[spec.name]
        if spec.dtype == "float32":
            array[random] = rng.normal(0.0, _SCALE, array[random].shape)
            array[random & (numbers % 2 == 1)] = np.nan
        elif spec.name == "steps":
            array[random] = contract.max_steps + step
    found["halted"][reset] = True
    return found
