"""The slots of a running loop: the row of each, and the carry.

Private to `loop`; `asking` has the rows and their answers. Memory: the carry and outputs of one
batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trm_runtime.asking import Asking
from trm_runtime.checks import check_step_output
from trm_runtime.contract import StepContract
from trm_runtime.halting import RUNNING
from trm_runtime.runner import StepRunner, initial_carry, trusted_step
from trm_runtime.settling import moved
from trm_runtime.solution import STOP_REASONS, StepEvent

Array = np.ndarray[Any, Any]

_IDLE, _NONFINITE = -1, STOP_REASONS.index("nonfinite")
_ONE = np.ones(1, dtype=np.int32)  # an array, which numpy adds sooner than a number
_SMALL = 4096  # elements, up to which a product is faster than a sum, and takes one thread


class Rollout:
    """Rows that are solved in the slots of one runner."""

    def __init__(self, runner: StepRunner, asking: Asking, slots: int) -> None:
        self._runner, self._asking, self._most = runner, asking, slots
        self._step = trusted_step(runner)
        first = asking.take(slots)
        size = slots if runner.contract.batch is not None else len(first)
        self._rows = np.full(size, _IDLE, dtype=np.int64)  # slot -> row
        self._rows[: len(first)] = first
        self._fed = np.maximum(self._rows, 0)  # slot -> row whose tokens it is fed
        self._carry = initial_carry(runner.contract, size)
        self._arrange()

    def _arrange(self) -> None:
        """Computes what stays the same until a slot gets another row."""
        self._idle = self._rows == _IDLE
        self._slots = (~self._idle).nonzero()[0]
        self._own = slice(None) if len(self._slots) == len(self._rows) else self._slots
        self._running = self._rows[self._slots]  # rows
        self._tokens = self._asking.feeds(self._fed) if self.active else {}

    @property
    def active(self) -> bool:
        """Whether any row is still running."""
        return len(self._running) > 0

    def advance(self) -> None:
        """One engine call, and its results for every row in it."""
        output = self._step(self._tokens, self._carry)
        contract, outputs, own = self._runner.contract, output.outputs, self._own
        floats = check_step_output(contract, output.carry, outputs, len(self._rows))
        measured = self._asking.measured
        change = moved(contract, self._carry, output.carry)[own] if measured else None
        ended = self._asking.latch(
            self._running,
            self._asking.steps[self._running] + _ONE,
            outputs["logits"][own].argmax(axis=-1),
            outputs["q_halt_logits"][own],
            outputs["q_continue_logits"][own],
            finite_rows(floats, self._slots),
            change,
        )
        self._carry = output.carry
        self._output = output
        self._ended = self._asking.end(self._running) if ended else None

    def event(self) -> StepEvent:
        """What the last call did."""
        output, ended = self._output, self._ended or self._asking.end(self._running)
        slots = self._slots.copy()  # which the caller may change
        return self._asking.event(self._running, slots, ended, output.outputs, output.carry)

    def refill(self) -> None:
        """Give free slots to waiting rows; drop other free slots unless the batch is fixed."""
        contract, asking = self._runner.contract, self._asking
        over = None if self._ended is None else asking.reasons[self._running] != RUNNING
        if over is None or not np.count_nonzero(over):  # so that nothing waits for a free slot
            self._restart(self._idle)
            return
        idle, done = self._idle, np.zeros(len(self._rows), dtype=bool)
        done[self._slots[over]] = True
        bad = done & (asking.reasons[self._rows] == _NONFINITE)
        self._carry = _cleared(contract, self._carry, bad)
        freed = (done if contract.batch is None else done | idle).nonzero()[0]
        new = asking.take(len(freed))
        self._rows[freed] = _IDLE
        self._rows[freed[: len(new)]] = new
        self._fed[freed[: len(new)]] = new
        fresh = done | (self._rows == _IDLE)
        fresh[freed] = True
        self._restart(fresh)
        if contract.batch is None:
            self._keep(self._rows != _IDLE)
            self._grow()
        self._arrange()

    def _restart(self, fresh: Array) -> None:
        """Have the graph begin anew in these slots; disturb the states of the others."""
        halted = self._carry["halted"].dtype
        self._carry = {**self._carry, "halted": fresh.astype(halted)}
        if not self._asking.tries.sigma:
            return
        running, rows = ~fresh, np.maximum(self._rows, 0)
        numbers = np.where(running, self._asking.numbers(rows), 0)
        carry, steps = dict(self._carry), self._asking.steps[rows]
        self._carry = self._asking.tries.disturbed(self._runner.contract, carry, numbers, steps)

    def _keep(self, kept: Array) -> None:
        if np.count_nonzero(kept) == len(kept):
            return
        self._rows, self._fed = self._rows[kept], self._fed[kept]
        self._carry = {name: array[kept] for name, array in self._carry.items()}

    def _grow(self) -> None:
        """New slots for rows that still wait, where more are waiting than slots became free."""
        free = self._most - len(self._rows)
        new = self._asking.take(free) if free else ()
        if not len(new):
            return
        self._rows, self._fed = np.append(self._rows, new), np.append(self._fed, new)
        fresh = initial_carry(self._runner.contract, len(new))
        self._carry = {k: np.concatenate([v, fresh[k]]) for k, v in self._carry.items()}


def finite_rows(tensors: Sequence[Array], slots: Array) -> Array | None:
    """(n,) bool: whether every one of these float tensors (B, ...) is finite in a slot of these.

    None if all are in all.
    """
    if math.isfinite(sum([_magnitude(tensor) for tensor in tensors])):
        return None
    finite = np.ones(len(slots), dtype=bool)
    for tensor in tensors:
        finite &= np.isfinite(tensor[slots]).all(axis=tuple(range(1, tensor.ndim)))
    return None if finite.all() else finite


def _magnitude(tensor: Array) -> float:
    """A sum that is finite only if all of the tensor is; numpy does not warn if it is not."""
    if tensor.ndim == 1:
        return float(sum(tensor.tolist()))
    if tensor.size <= _SMALL:
        return float(np.vdot(tensor, tensor))
    return float(np.einsum("i->", tensor.ravel()))


def _cleared(contract: StepContract, carry: Mapping[str, Array], slots: Array) -> dict[str, Array]:
    """The carry with some slots reset to their fill, so that no NaN reaches the next puzzle."""
    if not np.count_nonzero(slots):
        return dict(carry)
    cleared = {name: array.copy() for name, array in carry.items()}
    for spec in contract.carry:
        cleared[spec.name][slots] = spec.fill
    return cleared
