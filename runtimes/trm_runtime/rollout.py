"""The state of a running loop: the puzzle of each slot, and the present answer of each puzzle.

Private to `loop`. Memory: the answers of all N puzzles, the carry and outputs of one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.checks import check_step_output
from trm_runtime.contract import HaltRule, StepContract
from trm_runtime.runner import StepOutput, StepRunner, initial_carry
from trm_runtime.solution import STOP_REASONS, Solution, StepEvent

Array = np.ndarray[Any, Any]

_RUNNING = -1
_IDLE = -1


@dataclass(frozen=True)
class HaltPolicy:
    """When a puzzle is done: its score is above the threshold, or it took max_steps."""

    rule: HaltRule  # for the score
    threshold: float | None  # logits, instead of the rule's own; None: run all steps
    max_steps: int

    def reasons(self, steps: Array, q_halt: Array, q_continue: Array) -> Array:
        """(n,) int8: an index into STOP_REASONS, or _RUNNING."""
        reasons = np.full(len(steps), _RUNNING, dtype=np.int8)
        reasons[steps >= self.max_steps] = STOP_REASONS.index("max_steps")
        if self.threshold is not None:
            score = self.rule.score(q_halt, q_continue)
            with np.errstate(over="ignore"):  # a threshold beyond float32 is infinite
                threshold = np.float32(self.threshold)
            reasons[score > threshold] = STOP_REASONS.index("halted")
        return reasons


class Rollout:
    """N puzzles that are solved in the slots of one runner."""

    def __init__(
        self, runner: StepRunner, tokens: Mapping[str, Array], policy: HaltPolicy, slots: int
    ) -> None:
        count, seq = tokens["inputs"].shape
        self._runner, self._tokens, self._policy = runner, tokens, policy
        self._answers = np.zeros((count, seq), dtype=np.int32)
        self._steps = np.zeros(count, dtype=np.int32)
        self._q_halt = np.full(count, np.nan, dtype=np.float32)
        self._q_continue = np.full(count, np.nan, dtype=np.float32)
        self._reasons = np.full(count, _RUNNING, dtype=np.int8)
        self._next = min(slots, count)  # the first puzzle still waiting
        self._rows = np.full(slots, _IDLE, dtype=np.int64)  # slot -> puzzle
        self._rows[: self._next] = np.arange(self._next)
        self._fed = np.maximum(self._rows, 0)  # slot -> puzzle whose tokens it is fed
        self._carry = initial_carry(runner.contract, slots)

    @property
    def active(self) -> bool:
        """Whether any puzzle is still running."""
        return bool((self._rows != _IDLE).any())

    def advance(self) -> StepEvent:
        """One engine call, and its results for every puzzle in it."""
        inputs = {name: array[self._fed] for name, array in self._tokens.items()}
        output = self._runner.step(inputs, self._carry)
        contract = self._runner.contract
        check_step_output(contract, output.carry, output.outputs, len(self._rows))
        slots = np.flatnonzero(self._rows != _IDLE)
        rows = self._rows[slots]
        self._steps[rows] += 1
        self._latch(rows, slots, output, finite_rows(contract, output)[slots])
        self._carry = output.carry
        return StepEvent(
            rows=rows,
            slots=slots,
            steps=self._steps[rows],
            answers=self._answers[rows],
            q_halt=self._q_halt[rows],
            q_continue=self._q_continue[rows],
            finished=self._reasons[rows] != _RUNNING,
            stop_reasons=tuple(
                None if code == _RUNNING else STOP_REASONS[code]
                for code in self._reasons[rows].tolist()
            ),
            outputs=output.outputs,
            carry=output.carry,
        )

    def _latch(self, rows: Array, slots: Array, output: StepOutput, finite: Array) -> None:
        self._reasons[rows[~finite]] = STOP_REASONS.index("nonfinite")
        rows, slots = rows[finite], slots[finite]
        self._answers[rows] = output.outputs["logits"][slots].argmax(axis=-1)
        self._q_halt[rows] = output.outputs["q_halt_logits"][slots]
        self._q_continue[rows] = output.outputs["q_continue_logits"][slots]
        self._reasons[rows] = self._policy.reasons(
            self._steps[rows], self._q_halt[rows], self._q_continue[rows]
        )

    def refill(self) -> None:
        """Give free slots to waiting puzzles; drop other free slots unless the batch is fixed."""
        done = (self._rows != _IDLE) & (self._reasons[self._rows] != _RUNNING)
        bad = done & (self._reasons[self._rows] == STOP_REASONS.index("nonfinite"))
        self._carry = _cleared(self._runner.contract, self._carry, bad)
        freed = np.flatnonzero(done)
        taken = freed[: len(self._reasons) - self._next]
        self._rows[freed] = _IDLE
        self._rows[taken] = np.arange(self._next, self._next + len(taken))
        self._fed[taken] = self._rows[taken]
        self._next += len(taken)
        halted = (done | (self._rows == _IDLE)).astype(self._carry["halted"].dtype)
        self._carry = {**self._carry, "halted": halted}
        if self._runner.contract.batch is None:
            self._keep(self._rows != _IDLE)

    def _keep(self, kept: Array) -> None:
        if kept.all():
            return
        self._rows, self._fed = self._rows[kept], self._fed[kept]
        self._carry = {name: array[kept] for name, array in self._carry.items()}

    def stop(self, reason: str) -> None:
        """Stop every puzzle that is not done yet, for this reason."""
        self._reasons[self._reasons == _RUNNING] = STOP_REASONS.index(reason)
        self._rows[:] = _IDLE

    def solution(self) -> Solution:
        """The results; call it when no puzzle is active."""
        reasons = tuple(STOP_REASONS[code] for code in self._reasons.tolist())
        return Solution(
            self._answers,
            self._steps,
            self._q_halt,
            self._q_continue,
            reasons,
            self._tokens["inputs"],
            self._runner.contract,
        )


def finite_rows(contract: StepContract, output: StepOutput) -> Array:
    """(B,) bool: whether every float output and carry tensor of a row is finite."""
    tensors = [output.outputs[spec.name] for spec in contract.outputs if spec.dtype == "float32"]
    tensors += [output.carry[spec.name] for spec in contract.carry if spec.dtype == "float32"]
    finite = np.ones(len(output.outputs["logits"]), dtype=bool)
    for tensor in tensors:
        finite &= np.isfinite(tensor).all(axis=tuple(range(1, tensor.ndim)))
    return finite


def _cleared(contract: StepContract, carry: Mapping[str, Array], slots: Array) -> dict[str, Array]:
    """The carry with some slots reset to their fill, so that no NaN reaches the next puzzle."""
    if not slots.any():
        return dict(carry)
    cleared = {name: array.copy() for name, array in carry.items()}
    for spec in contract.carry:
        cleared[spec.name][slots] = spec.fill
    return cleared
