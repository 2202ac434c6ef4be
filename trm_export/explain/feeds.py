"""The inputs of the first bad step of a file: the reference's state, call by call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from trm_runtime.open import open_driver, wrapped
from trm_runtime.parity import Golden, Place
from trm_runtime.parity.slots import disturbed, puzzle_rows
from trm_runtime.runner import StepOutput, StepRunner, initial_carry

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

ROWS = 6  # where a graph takes any number


def step_rows(
    golden: Golden, step: int, count: int, worst: Place | None = None
) -> tuple[Arrays, Arrays]:
    """Inputs and carry of a step (from 1), ``count`` rows: followed puzzles and refilled slots.

    Only refilled slots have resets with stale or garbage states. The row of the ``worst`` element
    comes first.
    """
    chunk, slots = golden.chunks[0], golden.refilled
    followed = {name: array[chunk.followed] for name, array in chunk.tokens.items()}
    changed = {name: array[step - 1] for name, array in slots.inputs.items()}
    carry = _before(golden, chunk.states, step, len(chunk.followed))
    held = _before(golden, slots.states, step, len(slots.numbers))
    held = disturbed(golden.contract, slots.numbers, step, held)
    many = len(chunk.followed), len(slots.numbers)
    rows = _mixed(*many, count)
    if worst is not None:
        in_slots = puzzle_rows(slots.numbers, step, slots.puzzles)
        numbers = in_slots if worst.refilled else chunk.followed
        at = int(np.argmax(numbers == worst.puzzle)) + (many[0] if worst.refilled else 0)
        rows = np.array([at, *rows[: count - 1]])
    return _picked(followed, changed, rows), _picked(carry, held, rows)


def _before(golden: Golden, states: Mapping[str, Array], step: int, rows: int) -> Arrays:
    if step == 1:
        return initial_carry(golden.contract, rows)
    return {spec.name: states[spec.name][step - 2] for spec in golden.contract.carry}


def _mixed(first: int, second: int, count: int) -> Array:
    """Rows of two arrays, one after the other, in turn; repeated where there are too few."""
    pairs = [row for k in range(max(first, second)) for row in (k % first, first + k % second)]
    return np.resize(np.array(pairs), count)


def _picked(first: Arrays, second: Arrays, rows: Array) -> Arrays:
    return {name: np.concatenate([first[name], second[name]])[rows] for name in first}


@final
class Tap:
    """A driver that records the tensors it is called with."""

    def __init__(self, runner: StepRunner) -> None:
        self.contract, self._runner = runner.contract, runner
        self.calls: list[Arrays] = []

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        """One call; see `StepRunner.step`."""
        self.calls.append({**inputs, **carry})
        return self._runner.step(inputs, carry)


def calls_of(path: Path, golden: Golden, step: int, worst: Place | None = None) -> list[Arrays]:
    """The inputs of the graph of a correct file at a step of the reference, one entry a call.

    A step is one call, or one call per pass. Int8 I/O, passes and rows of a puzzle table are as
    the graph has them.
    """
    tap = Tap(open_driver(path))
    runner = wrapped(tap, path)
    inputs, carry = step_rows(golden, step, tap.contract.batch or ROWS, worst)
    runner.step(inputs, carry)
    return tap.calls
