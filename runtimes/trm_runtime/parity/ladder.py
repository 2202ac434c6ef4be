"""`check`: compare a candidate with a recorded reference, rung by rung.

`compare` records the reference first. Chunks can be measured in any order and on any machine; the
result does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Callable

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.declared import check_rows
from trm_runtime.granularity import as_loop
from trm_runtime.parity.chunk_measure import (
    Part,
    force_chunk,
    measure_chunk,
    measure_refilled,
    merged,
)
from trm_runtime.parity.contracts import CHECKS, weights_problems
from trm_runtime.parity.decisions import decide, tolerance
from trm_runtime.parity.drift import above_floor, growth, step_sizes
from trm_runtime.parity.few_steps import numbers
from trm_runtime.parity.gaps import TensorDiff
from trm_runtime.parity.gates import Gates, gates_of
from trm_runtime.parity.golden import Golden
from trm_runtime.parity.judge import contract_rungs, step_rungs, value_rungs
from trm_runtime.parity.outcomes import Valid, accuracy, halting
from trm_runtime.parity.recorder import Puzzles, check_batch_size, record
from trm_runtime.parity.result import ParityResult
from trm_runtime.runner import StepRunner

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], object]  # units of work done, and of how many

REFILLED = -1  # the part number of the refilled slots; those of chunks begin at 0


def compare(
    reference: StepRunner,
    candidate: StepRunner,
    puzzles: Puzzles,
    *,
    gates: Gates | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
    steps_only: bool = False,
    valid: Valid | None = None,
) -> ParityResult:
    """Whether `candidate` computes the same as `reference` on these puzzles; see the package.

    Args:
        reference, candidate: runners of the same model.
        puzzles: real ones, at least one; without identifiers of their own they get identifier 0.
        gates: the limits; by default those of the precision in the candidate's contract.
        batch_size: rows a step; a runner of a fixed batch gets them in slices of that batch.
        progress: called with the units of work that are done for the candidate, and their total.
        steps_only: stop after the forced values, for a quick check; a candidate of granularity
            loop has none and is compared completely.
        valid: which answers obey the rules of the task.

    Raises:
        RejectedInputError: the puzzles do not fit the reference.
        ContractMismatchError: a runner returns other tensors than its contract.
        UsageError: no gates for the precision, a batch size below 1.
    """
    gates = gates or gates_of(candidate.contract)
    count, kind = len(puzzles.inputs), getattr(puzzles, "kind", "puzzles")
    refused = refusal(reference.contract, candidate.contract, gates, count, kind)
    if refused is not None:
        return refused
    golden = record(reference, puzzles, batch_size=batch_size)
    return check(
        golden, candidate, gates=gates, batch_size=batch_size, progress=progress,
        steps_only=steps_only, valid=valid,
    )  # fmt: skip


def check(
    golden: Golden,
    candidate: StepRunner,
    *,
    gates: Gates | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
    steps_only: bool = False,
    valid: Valid | None = None,
) -> ParityResult:
    """Whether `candidate` computes the same as the recorded reference; see `compare`."""
    check_batch_size(batch_size)
    found = candidate.contract
    gates = gates or gates_of(found)
    kind = golden.about.kind
    refused = refusal(golden.contract, found, gates, golden.puzzles, kind)
    if refused is not None:
        return refused
    check_rows(found, found.batch or min(batch_size, golden.puzzles))
    quick = steps_only and found.granularity != "loop"
    parts = list(parts_of(golden, candidate, batch_size, progress, quick, valid))
    return conclude(golden, found, gates, parts)


def part_numbers(golden: Golden, candidate: StepContract) -> list[int]:
    """The parts to measure: every chunk, and the refilled slots unless it is a loop."""
    chunks = list(range(len(golden.chunks)))
    return chunks if candidate.granularity == "loop" else [REFILLED, *chunks]


def measure(
    golden: Golden,
    number: int,
    candidate: StepRunner,
    batch_size: int,
    progress: Callable[[int], object],
    valid: Valid | None = None,
) -> Part:
    """Measure one of `part_numbers`."""
    if number == REFILLED:
        return measure_refilled(golden, candidate, progress)
    return measure_chunk(golden, number, candidate, batch_size, progress, valid)


def parts_of(
    golden: Golden,
    candidate: StepRunner,
    batch_size: int,
    progress: Progress | None,
    quick: bool,
    valid: Valid | None,
) -> Iterator[Part]:
    """Every part in turn, in this process; `quick` ones have forced values only."""
    total, done = work(golden, candidate.contract), 0

    def report(units: int) -> None:
        nonlocal done
        done += units
        if progress is not None:
            progress(min(done, total), total)

    for number in part_numbers(golden, candidate.contract):
        if quick and number != REFILLED:
            yield force_chunk(golden, number, candidate, batch_size)
        else:
            yield measure(golden, number, candidate, batch_size, report, valid)


def work(golden: Golden, candidate: StepContract) -> int:
    """Units of progress: puzzles, and the steps of those that are compared value by value."""
    return sum(part_work(golden, number, candidate) for number in part_numbers(golden, candidate))


def part_work(golden: Golden, number: int, candidate: StepContract) -> int:
    """The units of one of `part_numbers`."""
    steps = golden.contract.max_steps
    if number == REFILLED:
        return steps * len(golden.refilled.numbers)
    size = golden.sizes[number]
    values = 0 if candidate.granularity == "loop" else 2 * steps * size.followed
    return size.puzzles + values


def refusal(
    expected: StepContract,
    found: StepContract,
    gates: Gates,
    puzzles: int,
    kind: str,
    *,
    any_weights: bool = True,
) -> ParityResult | None:
    """The result if the contracts differ, in which case nothing is run; None if they agree.

    Unless `any_weights` are compared, they also differ by the checksum of the weights.
    """
    wanted = as_loop(expected) if found.granularity == "loop" else expected
    problems = {name: rule(wanted, found) for name, rule in CHECKS.items()}
    weights = [] if any_weights else weights_problems(expected, found)
    if not weights and not any(problems.values()):
        return None
    return ParityResult(
        precision=found.precision,
        gates=gates,
        puzzles=puzzles,
        followed=0,
        refilled_slots=0,
        kind=kind,
        same_weights=not weights_problems(expected, found),
        rungs=contract_rungs(problems, weights),
    )


def conclude(
    golden: Golden, candidate: StepContract, gates: Gates, parts: Sequence[Part]
) -> ParityResult:
    """The result of all `part_numbers`, whose parts are in this order."""
    total = merged(parts)
    forced = _errors(total, golden.contract, lossy=candidate.precision != "fp32")
    columns = total.columns
    head: dict[str, Any] = {
        "precision": candidate.precision,
        "gates": gates,
        "puzzles": golden.puzzles,
        "followed": int((~total.refilled).sum()),
        "refilled_slots": int(total.refilled.sum()),
        "kind": golden.about.kind,
        "same_weights": not weights_problems(golden.contract, candidate),
        "forced": forced,
    }
    contracts = contract_rungs(dict.fromkeys(CHECKS, ()))
    if not columns:
        return ParityResult(**head, rungs=(*contracts, *step_rungs(gates, forced)))
    limits = _largest(forced)
    decisions = decide(columns, *limits)
    score = accuracy(columns)
    followed = ~total.refilled
    settled = total.settled[followed]
    one, free = (
        step_sizes(gaps.rows_where(followed), total.equal[:, followed], settled)
        for gaps in (total.forced, total.free)
    )
    floor = golden.about.floor
    broken = int(columns["broken"].sum())
    values = value_rungs(gates, forced, free, broken, decisions, score)
    return ParityResult(
        **head,
        rungs=(*contracts, *values),
        forced_steps=one,
        free=free,
        floor=floor,
        growth=growth(free),
        above_floor=above_floor(free, floor),
        decisions=decisions,
        halting=halting(columns, golden.contract.max_steps, tolerance(limits[1])),
        accuracy=score,
        stories=total.stories,
    )


def _errors(total: Part, contract: StepContract, *, lossy: bool) -> tuple[TensorDiff, ...]:
    """Every forced error, by step, integers first; empty for a loop."""
    gaps = total.forced
    if not gaps.rows:
        return ()
    steps = enumerate(numbers(contract, len(total.puzzles)), 1)
    return tuple(
        replace(
            gaps.error(step, k, total.puzzles[step - 1], total.refilled, lossy=lossy), step=number
        )
        for step, number in steps
        for k in range(len(gaps.specs))
    )


def _largest(forced: tuple[TensorDiff, ...]) -> tuple[float, float]:
    """The largest forced error of a logit, and of a halting score."""
    logits = [error.max_abs for error in forced if error.tensor == "logits"]
    scores = [error.max_abs for error in forced if error.tensor.startswith("q_")]
    # twice, because a score may be the difference of two
    return max(logits, default=0.0), 2 * max(scores, default=0.0)
