"""Check files against a golden, part by part; every finished part is stored at once.

A part is one chunk of puzzles, or the refilled slots. The result does not depend on where parts are
measured, nor on the order in which they are finished.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.parity.parts import Parts
from trm_export.parity.rules import valid_answers
from trm_runtime.contract import StepContract
from trm_runtime.digest import tree_digest
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, Golden, ParityResult, gates_of
from trm_runtime.parity.chunk_measure import Part
from trm_runtime.parity.golden_file import read_golden
from trm_runtime.parity.ladder import conclude, measure, part_numbers, part_work, refusal
from trm_runtime.runner import StepRunner

Array = np.ndarray[Any, Any]
Progress = Callable[[float], object]  # the share of the work that is done
Units = Callable[[int], object]  # so many more units of work are done
Measured = Generator[
    tuple[int, Mapping[str, Array]], None, None
]  # numbers of parts and their arrays


@dataclass(frozen=True)
class Check:
    """One file against one golden; it can be sent to another process.

    Attributes:
        golden: path of the recording.
        artifact: path of the exported file.
        gates: the gates; None for those of the file's precision.
        batch_size: rows a step, if the file has a dynamic batch.
        threads: of the engine; None for the engine's default where all puzzles are one chunk, else
            1, so that the sums do not depend on the cores of a machine.
        any_weights: run the file also where its contract records other weights than the golden.
    """

    golden: Path
    artifact: Path
    gates: Gates | None = None
    batch_size: int = 64
    threads: int | None = None
    any_weights: bool = True

    @functools.cached_property
    def folder(self) -> str:
        """The folder of its parts, unique for files of the same name from several folders."""
        return f"{self.artifact.name}-{tree_digest(self.artifact)[:16]}"

    def part_name(self, number: int) -> str:
        """The name of a part on disk."""
        return f"{self.folder}/part-{number + 1:05d}"


@dataclass(frozen=True)
class Sides:
    """Both sides of a check, open."""

    golden: Golden
    runner: StepRunner


Spread = Callable[[Check, Sides, Sequence[int], Units], Measured]
"""Measures these parts of a check, in any process and in any order."""


def opened(check: Check) -> Sides:
    """Opens both sides."""
    golden = read_golden(check.golden)
    return Sides(golden, _runner(check, golden))


def _runner(check: Check, golden: Golden) -> StepRunner:
    fixed = (
        check.artifact.is_dir() and "tensorflow" in sys.modules
    )  # its threads can be set only once
    own = 1 if len(golden.sizes) > 1 and not fixed else None
    return open_runner(check.artifact, check.threads or own)


def measured(check: Check, sides: Sides, number: int, units: Units) -> dict[str, Array]:
    """One part of a check as arrays."""
    golden, valid = sides.golden, valid_answers(sides.golden.contract)
    return measure(golden, number, sides.runner, check.batch_size, units, valid).arrays()


def here(check: Check, sides: Sides, numbers: Sequence[int], units: Units) -> Measured:
    """Measures parts in this process, one after the other."""
    return ((number, measured(check, sides, number, units)) for number in numbers)


def check_files(
    golden: Golden,
    checks: Sequence[Check],
    parts: Parts,
    *,
    spread: Spread = here,
    progress: Progress | None = None,
) -> Iterator[ParityResult]:
    """The result of every check in turn; parts in `parts` are not measured again.

    Args:
        golden: of all checks, open.
        checks: one for each file.
        parts: where finished parts are kept.
        spread: measures the others.
        progress: called with the share of all checks that is done.
    """
    report = progress or (lambda share: None)
    for place, check in enumerate(checks):

        def report_check(share: float, place: int = place) -> None:
            report((place + share) / len(checks))

        sides = Sides(golden, _runner(check, golden))
        yield _checked(check, sides, parts, spread, report_check)


def _checked(
    check: Check, sides: Sides, parts: Parts, spread: Spread, progress: Progress
) -> ParityResult:
    golden, contract = sides.golden, sides.runner.contract
    gates = check.gates or gates_of(contract)
    refused = refusal(
        golden.contract, contract, gates, golden.puzzles, golden.about.kind,
        any_weights=check.any_weights,
    )  # fmt: skip
    if refused is not None:
        return refused
    missing = functools.partial(spread, check, sides)
    finished = all_parts(golden, contract, parts, check.part_name, missing, progress)
    return conclude(golden, contract, gates, finished)


def all_parts(
    golden: Golden,
    candidate: StepContract,
    parts: Parts,
    name: Callable[[int], str],
    missing: Callable[[Sequence[int], Units], Measured],
    progress: Progress,
) -> list[Part]:
    """Every part of a comparison, in order; `missing` measures those that `parts` does not have."""
    work = {n: part_work(golden, n, candidate) for n in part_numbers(golden, candidate)}
    stored = ((number, parts.load(name(number))) for number in work)
    finished = {number: arrays for number, arrays in stored if arrays is not None}
    done, total = sum(work[number] for number in finished), sum(work.values())

    def units(more: int) -> None:
        nonlocal done
        done += more
        progress(min(done / total, 1.0))

    units(0)
    with closing(missing([number for number in work if number not in finished], units)) as new:
        for number, arrays in new:
            parts.save(name(number), arrays)
            finished[number] = dict(arrays)
    return [Part.from_arrays(golden.contract, finished[number]) for number in work]
