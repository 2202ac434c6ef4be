"""The control of an exported file: the same file on the same engine, run in another way.

Where activations are rounded, two engines that differ in the last digit round some of them to the
other side, now and then and by a whole step. What one other way of running the file shows of this
is chance. So such a file is also run with carries that differ as much as engines do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.errors import NoControlError
from trm_runtime.cores import available_cores
from trm_runtime.file_kinds import kind_of
from trm_runtime.message_text import counted
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, Golden, ParityResult, check
from trm_runtime.parity.file_golden import LEAST
from trm_runtime.parity.gates import is_integer
from trm_runtime.runner import Arrays, StepOutput, StepRunner

Progress = Callable[[float], object]

_DRAWS = 4  # of other carries


class _Nudged:
    """A runner whose float carry differs by LEAST, up or down at random."""

    def __init__(self, runner: StepRunner, seed: int) -> None:
        self.contract, self._step = runner.contract, runner.step
        self._random = np.random.default_rng(seed)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        return self._step(inputs, {name: self._nudged(array) for name, array in carry.items()})

    def _nudged(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if array.dtype != np.float32:
            return array
        factors = 1 + LEAST * self._random.choice((-1, 1), array.shape)
        return array * factors.astype(np.float32)


def own_control(
    golden: Golden,
    artifact: Path,
    threads: int | None,
    progress: Progress,
    engine: str | None = None,
) -> dict[str, Any]:
    """How far single steps of a file are from its recording, at worst, in plain JSON types.

    Raises NoControlError for an engine that can be run in one way only.
    """
    errors: dict[str, float] = {}
    for share, what, result in own_results(golden, artifact, threads, engine):
        errors[what] = max(errors.get(what, 0.0), result.forced_error or 0.0)
        progress(share)
    if not errors:
        name = kind_of(artifact).chosen(engine)[0].name
        raise NoControlError(f"{artifact.name}: {name} has no other way to run it.")
    worst = max(errors, key=lambda what: errors[what])
    return {"what": worst, "forced_error": errors[worst], "errors": errors, "free": []}


def own_results(
    golden: Golden, artifact: Path, threads: int | None, engine: str | None = None
) -> Iterator[tuple[float, str, ParityResult]]:
    """The share that is done, another way to run the file, and what differs then.

    Nothing for an engine that can be run in one way only.
    """
    if not kind_of(artifact).chosen(engine)[0].can_be_plain:
        return
    ways = list(_other_ways(artifact, threads, engine))
    for number, (what, opened) in enumerate(ways, start=1):
        result = check(golden, opened(), gates=Gates(), steps_only=True)
        yield number / len(ways), what, result


def _other_ways(
    artifact: Path, threads: int | None, engine: str | None
) -> Iterator[tuple[str, Callable[[], StepRunner]]]:
    other = 1 if threads != 1 else max(2, available_cores())
    yield (
        f"the same file with {counted(other, 'thread')}",
        lambda: open_runner(artifact, other, engine=engine),
    )
    yield (
        "the same file with the optimisations of the engine off",
        lambda: open_runner(artifact, threads, optimised=False, engine=engine),
    )
    runner = open_runner(artifact, threads, engine=engine)
    if is_integer(runner.contract.precision):
        what = f"the same file with carries that differ by {LEAST:.0e}"
        yield from ((what, partial(_Nudged, runner, seed)) for seed in range(_DRAWS))
