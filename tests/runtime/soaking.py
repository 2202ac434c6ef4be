"""Memory over very many steps: its slope, and a runner that leaks to prove the measurement."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime import StepContract, StepOutput, StepRunner, initial_carry

SAMPLES = 40
SMALL = 64  # bytes of an object that Python keeps in an arena of its own, about


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def in_use() -> int | None:
    """The bytes that this process has allocated and not freed; None where glibc does not count.

    The resident memory says less: what was freed before hides a leak, and what an engine caches
    looks like one.
    """
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return None
    mallinfo2.restype = _Mallinfo2
    gc.collect()
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd + SMALL * sys.getallocatedblocks())


@dataclass(frozen=True)
class Slope:
    """The growth of the memory in use, in bytes a step, over the second half of a soak."""

    steps: int
    bytes_a_step: float
    error: float  # standard error of the slope

    def within(self, limit: float) -> bool:
        """Whether it is flat: below `limit` bytes a step beyond twice its error."""
        return self.bytes_a_step - 2 * self.error < limit


@dataclass
class Leaking:
    """A runner that keeps `size` bytes of every step."""

    runner: StepRunner
    size: int

    def __post_init__(self) -> None:
        self.contract: StepContract = self.runner.contract
        self._kept: list[bytes] = []

    def step(self, inputs: Any, carry: Any) -> StepOutput:
        self._kept.append(os.urandom(self.size))
        return self.runner.step(inputs, carry)


def soak(runner: StepRunner, tokens: np.ndarray[Any, Any], steps: int) -> Slope:
    """Steps of one batch (N, S), each from the carry of the last one."""
    contract = runner.contract
    inputs = {spec.name: np.zeros((len(tokens), *spec.shape[1:]), spec.dtype)
              for spec in contract.inputs}  # fmt: skip
    inputs["inputs"] = tokens.astype(inputs["inputs"].dtype)
    carry: Any = initial_carry(contract, len(tokens))
    every = max(steps // SAMPLES, 1)
    taken: list[tuple[int, int | None]] = []
    gc.collect()
    gc.freeze()  # what was there before, for good; a collection is quick then
    for step in range(steps):
        carry = runner.step(inputs, carry).carry
        if step % every == 0:
            taken.append((step, in_use()))
    return _slope(steps, np.array(taken[len(taken) // 2 :], float))


def _slope(steps: int, samples: np.ndarray[Any, Any]) -> Slope:
    at, memory = samples.T
    slope, intercept = np.polyfit(at, memory, 1)
    rest = memory - (slope * at + intercept)
    spread = np.sqrt(np.sum(rest**2) / (len(at) - 2))
    return Slope(steps, float(slope), float(spread / np.linalg.norm(at - at.mean())))
