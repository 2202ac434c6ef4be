"""Free parity: both sides feed themselves, from the same puzzles to the last step.

Keeps a few numbers a puzzle and step, never a state. Every halting policy is read off afterwards:
nothing halts early here, and a row's history does not depend on its neighbours'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trm_export.parity.tensors import relative
from trm_runtime.contract import StepContract
from trm_runtime.runner import StepOutput
from trm_runtime.tensors import AnySpec

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drift:
    """Relative L2 error of one tensor; None where no puzzle is of that kind."""

    all: float
    settled: float | None
    unsettled: float | None


@dataclass(frozen=True)
class FreeStep:
    """How far apart the two free runs are after a step (from 1)."""

    step: int
    cells_equal: float  # share of equal argmax cells, all puzzles
    drift: dict[str, Drift]  # every float tensor


class Decided(Protocol):
    """What one side decided on N puzzles: a `Latch`, or a `trm_runtime.Solution`."""

    @property
    def steps(self) -> Array:
        """(N,) int32: the step at which each stopped."""
        ...

    @property
    def answers(self) -> Array:
        """(N, S) int32: the answer of that step."""
        ...


class Latch:
    """One side's decisions on N puzzles: each at the first step whose score is above threshold."""

    def __init__(self, contract: StepContract, count: int) -> None:
        self._halt, self._last = contract.halt, contract.max_steps
        self.scores = np.full((contract.max_steps, count), np.nan, dtype=np.float32)
        self.steps = np.zeros(count, dtype=np.int32)  # 0: still running
        self.answers = np.zeros((count, contract.seq_len), dtype=np.int32)
        self.margins = np.zeros((count, contract.seq_len), dtype=np.float32)  # best minus second

    def add(self, step: int, rows: Array, outputs: dict[str, Array]) -> None:
        """The outputs (n, ...) of a step for puzzles `rows` (n,)."""
        score = outputs["q_halt_logits"]
        if self._halt.kind == "q_halt_minus_q_continue":
            score = score - outputs["q_continue_logits"]
        self.scores[step - 1, rows] = score
        done = (self.steps[rows] == 0) & ((score > self._halt.threshold) | (step == self._last))
        logits, stopped = outputs["logits"][done], rows[done]
        self.steps[stopped] = step
        self.answers[stopped] = logits.argmax(axis=-1)
        top = np.partition(logits, -2, axis=-1)[..., -2:]
        self.margins[stopped] = top[..., 1] - top[..., 0]


class FreeRuns:
    """Both sides of N puzzles."""

    def __init__(self, contract: StepContract, candidate: StepContract, count: int) -> None:
        specs: list[AnySpec] = [*contract.carry, *contract.outputs]
        self._floats = [spec.name for spec in specs if spec.dtype == "float32"]
        shape = (contract.max_steps, len(self._floats), count)
        self._gap, self._size = np.zeros(shape), np.zeros(shape)
        self._equal = np.zeros((contract.max_steps, count))
        self.nonfinite = np.zeros(count, dtype=bool)  # where the candidate alone breaks down
        self.reference, self.candidate = Latch(contract, count), Latch(candidate, count)

    def add(self, step: int, rows: Array, expected: StepOutput, got: StepOutput) -> None:
        """One step of puzzles `rows` (n,)."""
        for k, name in enumerate(self._floats):
            x, y = (_rows(side, name) for side in (expected, got))
            with np.errstate(invalid="ignore", over="ignore"):
                self._gap[step - 1, k, rows] = np.square(y - x).sum(axis=1)
            self._size[step - 1, k, rows] = np.square(x).sum(axis=1)
            broken = ~np.isfinite(y) & np.isfinite(x)
            self.nonfinite[rows] |= broken.any(axis=1)
        equal = expected.outputs["logits"].argmax(-1) == got.outputs["logits"].argmax(-1)
        self._equal[step - 1, rows] = equal.mean(axis=1)
        self.reference.add(step, rows, expected.outputs)
        self.candidate.add(step, rows, got.outputs)

    def steps(self, settled: Array) -> tuple[FreeStep, ...]:
        """The drift of every step; `settled` (N,) bool splits the puzzles."""
        return tuple(
            FreeStep(t + 1, float(self._equal[t].mean()), self._drift(t, settled))
            for t in range(len(self._gap))
        )

    def _drift(self, t: int, settled: Array) -> dict[str, Drift]:
        groups = (np.ones_like(settled), settled, ~settled)
        return {
            name: Drift(*(self._relative(t, k, group) for group in groups))  # type: ignore[arg-type]
            for k, name in enumerate(self._floats)
        }

    def _relative(self, t: int, k: int, group: Array) -> float | None:
        if not group.any():
            return None
        gap, size = (float(sums[t, k, group].sum()) for sums in (self._gap, self._size))
        return relative(gap, size)


def _rows(side: StepOutput, name: str) -> Array:
    """A tensor of n rows as (n, elements) float64."""
    array = side.carry[name] if name in side.carry else side.outputs[name]
    return array.reshape(len(array), -1).astype(np.float64)
