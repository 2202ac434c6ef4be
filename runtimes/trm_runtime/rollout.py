"""The slots of a running loop: the row of each, and the carry.

Private to `loop`; `asking` has the rows and their answers. Memory: the carry and outputs of one
batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trm_runtime.asking import Asking
from trm_runtime.checks import check_step_output
from trm_runtime.contract import StepContract
from trm_runtime.halting import RUNNING
from trm_runtime.runner import StepOutput, StepRunner, initial_carry
from trm_runtime.settling import moved
from trm_runtime.solution import STOP_REASONS, StepEvent

Array = np.ndarray[Any, Any]

_IDLE = -1


class Rollout:
    """Rows that are solved in the slots of one runner."""

    def __init__(self, runner: StepRunner, asking: Asking, slots: int) -> None:
        self._runner, self._asking, self._most = runner, asking, slots
        first = asking.take(slots)
        size = slots if runner.contract.batch is not None else len(first)
        self._rows = np.full(size, _IDLE, dtype=np.int64)  # slot -> row
        self._rows[: len(first)] = first
        self._fed = np.maximum(self._rows, 0)  # slot -> row whose tokens it is fed
        self._carry = initial_carry(runner.contract, size)

    @property
    def active(self) -> bool:
        """Whether any row is still running."""
        return bool((self._rows != _IDLE).any())

    def advance(self) -> StepEvent:
        """One engine call, and its results for every row in it."""
        output = self._runner.step(self._asking.feeds(self._fed), self._carry)
        contract = self._runner.contract
        check_step_output(contract, output.carry, output.outputs, len(self._rows))
        measured = self._asking.measured
        change = moved(contract, self._carry, output.carry) if measured else None
        slots = np.flatnonzero(self._rows != _IDLE)
        rows = self._rows[slots]
        self._asking.steps[rows] += 1
        self._asking.latch(
            rows,
            output.outputs["logits"][slots].argmax(axis=-1),
            output.outputs["q_halt_logits"][slots],
            output.outputs["q_continue_logits"][slots],
            finite_rows(contract, output)[slots],
            None if change is None else change[slots],
        )
        self._carry = output.carry
        return self._asking.event(rows, slots, output.outputs, output.carry)

    def refill(self) -> None:
        """Give free slots to waiting rows; drop other free slots unless the batch is fixed."""
        contract, reasons = self._runner.contract, self._asking.reasons
        idle = self._rows == _IDLE
        done = (reasons[self._rows] != RUNNING) & ~idle
        if not done.any():  # so that nothing waits for a slot that is free
            self._restart(idle)
            return
        bad = done & (reasons[self._rows] == STOP_REASONS.index("nonfinite"))
        self._carry = _cleared(contract, self._carry, bad)
        freed = np.flatnonzero(done if contract.batch is None else done | idle)
        new = self._asking.take(len(freed))
        self._rows[freed] = _IDLE
        self._rows[freed[: len(new)]] = new
        self._fed[freed[: len(new)]] = new
        fresh = done | (self._rows == _IDLE)
        fresh[freed] = True
        self._restart(fresh)
        if contract.batch is None:
            self._keep(self._rows != _IDLE)
            self._grow()

    def _restart(self, fresh: Array) -> None:
        """Have the graph begin anew in these slots; disturb the states of the others."""
        self._carry = {**self._carry, "halted": fresh.astype(self._carry["halted"].dtype)}
        if not self._asking.tries.sigma:
            return
        running, rows = ~fresh, np.maximum(self._rows, 0)
        numbers = np.where(running, self._asking.numbers(rows), 0)
        carry, steps = dict(self._carry), self._asking.steps[rows]
        self._carry = self._asking.tries.disturbed(self._runner.contract, carry, numbers, steps)

    def _keep(self, kept: Array) -> None:
        if kept.all():
            return
        self._rows, self._fed = self._rows[kept], self._fed[kept]
        self._carry = {name: array[kept] for name, array in self._carry.items()}

    def _grow(self) -> None:
        """New slots for rows that still wait, where more are waiting than slots became free."""
        new = self._asking.take(self._most - len(self._rows))
        if not len(new):
            return
        self._rows, self._fed = np.append(self._rows, new), np.append(self._fed, new)
        fresh = initial_carry(self._runner.contract, len(new))
        self._carry = {k: np.concatenate([v, fresh[k]]) for k, v in self._carry.items()}


def finite_rows(contract: StepContract, output: StepOutput) -> Array:
    """(B,) bool: whether every float output and carry tensor of a row is finite."""
    tensors = [output.outputs[spec.name] for spec in contract.outputs if spec.dtype == "float32"]
    tensors += [output.carry[spec.name] for spec in contract.carry if spec.dtype == "float32"]
    finite = np.ones(len(output.outputs["logits"]), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):  # a sum is finite only if all its terms are
        if math.isfinite(sum(float(np.add.reduce(tensor, axis=None)) for tensor in tensors)):
            return finite
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
