"""Carries to calibrate on: those of real rollouts, as many of every step as of any other.

Random carries would do harm: what a recursion feeds itself at step 9 looks like nothing else.
Knows no engine and no format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.runner import StepRunner, initial_carry

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class StepSamples:
    """What one step of a rollout was fed, a row a puzzle."""

    step: int  # from 1
    inputs: Mapping[str, Array]
    carry: Mapping[str, Array]


def rollout_samples(runner: StepRunner, puzzles: Array) -> Iterator[StepSamples]:
    """Every step of every puzzle, run to the last step whatever the halting head says.

    Args:
        runner: of a free batch.
        puzzles: ``(N, S)`` int32 tokens; identifiers, where the model has them, take turns.
    """
    inputs = _named(runner.contract, puzzles)
    carry = initial_carry(runner.contract, len(puzzles))
    for step in range(1, runner.contract.max_steps + 1):
        yield StepSamples(step, inputs, carry)
        carry = runner.step(inputs, carry).carry


def _named(contract: StepContract, puzzles: Array) -> dict[str, Array]:
    inputs = {"inputs": np.asarray(puzzles, np.int32)}
    if contract.num_puzzle_identifiers is not None:
        turns = np.arange(len(puzzles)) % contract.num_puzzle_identifiers
        inputs["puzzle_identifiers"] = turns.astype(np.int32)
    return inputs
