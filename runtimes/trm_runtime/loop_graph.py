"""Solve with a graph that contains the complete ACT loop: one call takes puzzles, returns answers.

Private to `loop`. The graph does the halting and latching; this module splits puzzles into batches.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

import numpy as np

from trm_runtime.checks import check_step_output
from trm_runtime.rollout import HaltPolicy, finite_rows
from trm_runtime.runner import StepRunner
from trm_runtime.solution import STOP_REASONS, Solution, StepEvent

Array = np.ndarray[Any, Any]


def solve_batches(
    runner: StepRunner,
    tokens: Mapping[str, Array],
    policy: HaltPolicy,
    slots: int,
    limit: float,
    on_step: Callable[[StepEvent], object] | None,
) -> Solution:
    """The answers to N puzzles, `slots` of them a call; `limit` is a time of `time.monotonic`.

    A puzzle that was not in any call before `limit`, or before `on_step` returned False, has steps
    0. One with a NaN or Inf in its outputs has no answer, because its earlier steps are not known.
    """
    count, seq = tokens["inputs"].shape
    answers, steps = np.zeros((count, seq), np.int32), np.zeros(count, np.int32)
    q_halt, q_continue = (np.full(count, np.nan, np.float32) for _ in range(2))
    reasons = np.full(count, STOP_REASONS.index("deadline"), np.int8)
    for start in range(0, count, max(slots, 1)):
        if time.monotonic() >= limit:
            break
        rows = np.arange(start, min(start + slots, count))
        fed = rows if runner.contract.batch is None else np.resize(rows, slots)
        output = runner.step({name: array[fed] for name, array in tokens.items()}, {})
        check_step_output(runner.contract, output.carry, output.outputs, len(fed))
        found = {name: array[: len(rows)] for name, array in output.outputs.items()}
        steps[rows], reasons[rows] = found["steps"], STOP_REASONS.index("nonfinite")
        finite = finite_rows(runner.contract, output)[: len(rows)]
        kept = rows[finite]
        answers[kept] = found["answers"][finite]
        q_halt[kept] = found["q_halt_logits"][finite]
        q_continue[kept] = found["q_continue_logits"][finite]
        reasons[kept] = policy.reasons(steps[kept], q_halt[kept], q_continue[kept])
        event = StepEvent(
            rows=rows,
            slots=np.arange(len(rows)),
            steps=steps[rows],
            answers=answers[rows],
            q_halt=q_halt[rows],
            q_continue=q_continue[rows],
            finished=np.ones(len(rows), dtype=bool),
            stop_reasons=tuple(STOP_REASONS[code] for code in reasons[rows].tolist()),
            outputs=output.outputs,
            carry=output.carry,
        )
        if on_step is not None and on_step(event) is False:
            reasons[rows[-1] + 1 :] = STOP_REASONS.index("cancelled")
            break
    stopped = tuple(STOP_REASONS[code] for code in reasons.tolist())
    puzzles = tokens["inputs"]
    return Solution(answers, steps, q_halt, q_continue, stopped, puzzles, runner.contract)
