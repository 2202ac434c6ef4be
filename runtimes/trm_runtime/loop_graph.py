"""Solve with a graph that contains the complete ACT loop: one call takes puzzles, returns answers.

Private to `loop`. The graph does the halting and latching; this module splits rows into batches.
"""

from __future__ import annotations

import time
from typing import Any, Callable

import numpy as np

from trm_runtime.asking import Asking
from trm_runtime.checks import check_step_output
from trm_runtime.rollout import finite_rows
from trm_runtime.runner import StepRunner
from trm_runtime.solution import Solution, StepEvent

Array = np.ndarray[Any, Any]


def solve_batches(
    runner: StepRunner,
    asking: Asking,
    slots: int,
    limit: float,
    on_step: Callable[[StepEvent], object] | None,
) -> Solution:
    """The answers to N puzzles, `slots` rows a call; `limit` is a time of `time.monotonic`.

    A puzzle that was not in any call before `limit`, or before `on_step` returned False, has steps
    0. One with a NaN or Inf in its outputs has no answer, because its earlier steps are not known.
    """
    while len(rows := asking.take(slots)):
        if time.monotonic() >= limit:
            return asking.stopped("deadline")
        event = _advance(runner, asking, rows, slots)
        if on_step is not None and on_step(event) is False:
            return asking.stopped("cancelled")
    return asking.solution()


def _advance(runner: StepRunner, asking: Asking, rows: Array, slots: int) -> StepEvent:
    """One call of the graph, and its results for these rows."""
    contract = runner.contract
    fed = rows if contract.batch is None else np.resize(rows, slots)
    output = runner.step(asking.feeds(fed), {})
    floats = check_step_output(contract, output.carry, output.outputs, len(fed))
    own = np.arange(len(rows))
    found = {name: array[own] for name, array in output.outputs.items()}
    asking.latch(
        rows,
        found["steps"],
        found["answers"],
        found["q_halt_logits"],
        found["q_continue_logits"],
        finite_rows(floats, own),
    )
    return asking.event(rows, own, asking.end(rows), output.outputs, output.carry)
