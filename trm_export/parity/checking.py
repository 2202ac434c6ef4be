"""Check files against a golden, part by part; every part is kept as soon as it is known.

A part is one chunk of puzzles, or the refilled slots. Where parts are measured, and in which
order they come back, makes no difference to the result.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.parity.parts import Parts
from trm_export.parity.rules import valid_answers
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, Golden, ParityResult, gates_of
from trm_runtime.parity.check import conclude, measure, part_numbers, refusal, work
from trm_runtime.parity.golden_file import read_golden
from trm_runtime.parity.measure import Part
from trm_runtime.runner import StepRunner

Array = np.ndarray[Any, Any]
Progress = Callable[[float], object]  # the share of the work that is done


@dataclass(frozen=True)
class Check:
    """One file against one golden, in words that another process understands.

    Attributes:
        golden: path of the recording.
        artifact: path of the exported file.
        gates: what to demand; None for those of the file's precision.
        batch_size: rows a step, where the file allows any.
        threads: of the engine; None for its own choice.
    """

    golden: Path
    artifact: Path
    gates: Gates | None = None
    batch_size: int = 64
    threads: int | None = None

    def part_name(self, number: int) -> str:
        """What a part is called on disk."""
        return f"{self.artifact.name}/part-{number + 1:05d}"


@functools.lru_cache(maxsize=1)
def opened(check: Check) -> tuple[Golden, StepRunner]:
    """Both sides of a check; the latest one stays open in a process."""
    return read_golden(check.golden), open_runner(check.artifact, check.threads)


def measured(check: Check, number: int) -> dict[str, Array]:
    """One part of a check as arrays: what a worker does."""
    return _part(check, number, lambda units: None).arrays()


def _part(check: Check, number: int, progress: Callable[[int], object]) -> Part:
    golden, runner = opened(check)
    valid = valid_answers(golden.contract)
    return measure(golden, number, runner, check.batch_size, progress, valid)


def check_files(
    checks: Sequence[Check], parts: Parts, *, jobs: int = 1, progress: Progress | None = None
) -> Iterator[ParityResult]:
    """The result of every check in turn; what `parts` knows is not measured again.

    Args:
        checks: of the same golden.
        parts: where finished parts are kept.
        jobs: processes to spread the work over; 1 for this one alone.
        progress: told the share of all checks that is done.
    """
    tell = progress or (lambda share: None)
    for place, check in enumerate(checks):

        def told(share: float, place: int = place) -> None:
            tell((place + share) / len(checks))

        yield check_file(check, parts, jobs=jobs, progress=told)


def check_file(
    check: Check, parts: Parts, *, jobs: int = 1, progress: Progress | None = None
) -> ParityResult:
    """The result of one check; see `check_files`."""
    golden, runner = opened(check)
    contract = runner.contract
    gates = check.gates or gates_of(contract)
    refused = refusal(golden.contract, contract, gates, golden.puzzles, golden.about.kind)
    if refused is not None:
        return refused
    numbers = part_numbers(golden, contract)
    todo = [number for number in numbers if parts.load(check.part_name(number)) is None]
    spread = _here if jobs == 1 else functools.partial(_processes, jobs=jobs)
    for number, arrays in spread(check, todo, progress or (lambda share: None)):
        parts.save(check.part_name(number), arrays)
    found = [_stored(check, number, parts, golden) for number in numbers]
    return conclude(golden, contract, gates, found)


def _stored(check: Check, number: int, parts: Parts, golden: Golden) -> Part:
    arrays = parts.load(check.part_name(number))
    if arrays is None:
        raise OSError(f"{parts.folder}: a finished part has gone")
    return Part.from_arrays(golden.contract, arrays)


Found = Iterator[tuple[int, Mapping[str, Array]]]


def _here(check: Check, numbers: Sequence[int], progress: Progress) -> Found:
    golden, runner = opened(check)
    done, total = 0, work(golden, runner.contract)

    def tell(units: int) -> None:
        nonlocal done
        done += units
        progress(min(done / total, 1.0))

    for number in numbers:
        yield number, _part(check, number, tell).arrays()


def _processes(check: Check, numbers: Sequence[int], progress: Progress, *, jobs: int) -> Found:
    """An engine with an open session must not be forked, so processes are spawned."""
    alone = dataclasses.replace(check, threads=check.threads or 1)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(measured, alone, number): number for number in numbers}
        for count, future in enumerate(as_completed(running), 1):
            yield running[future], future.result()
            progress(count / len(numbers))
