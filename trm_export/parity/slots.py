"""What the slots of a batch are fed: plain puzzles, or puzzles that change in mid-flight.

A plain slot keeps its puzzle for all steps. A refilled one is what a busy server does, and worse:
every third step it enters halted, with a new puzzle and a carry that holds the state of the last
one or, in every other slot, garbage, half of it NaN; on all other steps the puzzle beside its
carry is another than the one in it. So a step that forgets to reset, or looks at the wrong puzzle,
cannot hide. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

_PERIOD = 3  # a refilled slot takes a new puzzle at every third step
_GARBAGE = 10.0  # the scale of garbage states
_LEAST, _MOST, _SHARE = 6, 64, 8  # refilled slots: one for every eight puzzles, within limits


@dataclass(frozen=True)
class Slots:
    """The slots of one batch of B."""

    numbers: Array  # (B,) int64
    refilled: bool


def all_slots(puzzles: int, batch: int) -> Iterator[Slots]:
    """Every batch of a comparison: all puzzles plainly, then the refilled slots."""
    for refilled, total in ((False, puzzles), (True, refilled_count(puzzles))):
        for start in range(0, total, batch):
            yield Slots(np.arange(start, min(start + batch, total)), refilled)


def refilled_count(puzzles: int) -> int:
    """How many refilled slots go with so many puzzles."""
    return min(max(puzzles // _SHARE, _LEAST), _MOST)


def puzzle_rows(slots: Slots, step: int, puzzles: int) -> Array:
    """(B,) int64: the puzzle that each slot is shown at a step (from 1)."""
    return (slots.numbers + (step if slots.refilled else 0)) % puzzles


def shown(contract: StepContract, slots: Slots, step: int, tokens: Mapping[str, Array]) -> Arrays:
    """The inputs of a step. Refilled slots see puzzles shifted, and under many identifiers."""
    rows = puzzle_rows(slots, step, len(tokens["inputs"]))
    inputs = {name: array[rows] for name, array in tokens.items()}
    if slots.refilled:
        inputs["inputs"] = np.roll(inputs["inputs"], step, axis=1)
        if contract.num_puzzle_identifiers is not None:
            identifiers = (slots.numbers + step) % contract.num_puzzle_identifiers
            inputs["puzzle_identifiers"] = identifiers.astype(np.int32)
    return inputs


def disturbed(contract: StepContract, slots: Slots, step: int, carry: Arrays) -> Arrays:
    """The carry of a step, with refilled slots reset when it is their turn."""
    reset = (slots.numbers + step) % _PERIOD == 0
    if not slots.refilled or step == 1 or not reset.any():
        return carry
    carry = {name: array.copy() for name, array in carry.items()}
    rng = np.random.default_rng(step)
    garbage = reset & (slots.numbers // _PERIOD % 2 == 1)
    for spec in contract.carry:
        array = carry[spec.name]
        if spec.dtype == "float32":
            array[garbage] = rng.normal(0.0, _GARBAGE, array[garbage].shape)
            array[garbage & (slots.numbers % 2 == 1)] = np.nan
        elif spec.name == "steps":
            array[garbage] = contract.max_steps + step
    carry["halted"][reset] = True
    return carry
