"""`compare`: climb the ladder of parity with two runners, neither of which is special.

The puzzles go through in batches; at any time the tensors of one batch are held, and a few numbers
a puzzle and step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trm_export.errors import UsageError
from trm_export.granularity import as_loop
from trm_export.parity.accuracy import accuracy
from trm_export.parity.contracts import CHECKS
from trm_export.parity.decisions import decide, settled_puzzles
from trm_export.parity.free import Decided, FreeRuns, FreeStep, Latch
from trm_export.parity.gates import Gates, gates_for
from trm_export.parity.judge import contract_rungs, step_rungs, value_rungs
from trm_export.parity.result import ParityResult
from trm_export.parity.slots import (
    Slots,
    all_slots,
    disturbed,
    puzzle_rows,
    refilled_count,
    shown,
)
from trm_export.parity.tensors import TensorError, TensorSum
from trm_runtime.checks import check_inputs, check_step_output
from trm_runtime.contract import StepContract
from trm_runtime.loop import solve
from trm_runtime.runner import StepOutput, StepRunner, initial_carry
from trm_runtime.tensors import AnySpec

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Progress = Callable[[int, int], object]  # engine calls done, and of how many


class Puzzles(Protocol):
    """What is needed of puzzles: a `trm_export.tasks.PuzzleSet` will do."""

    @property
    def inputs(self) -> Array:
        """(N, S) int32 tokens."""
        ...

    @property
    def labels(self) -> Array | None:
        """(N, S) int32 tokens of the solutions, if known."""
        ...


def compare(
    reference: StepRunner,
    candidate: StepRunner,
    puzzles: Puzzles,
    *,
    gates: Gates | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
    steps_only: bool = False,
) -> ParityResult:
    """Whether `candidate` thinks the same as `reference` on these puzzles; see the package.

    Args:
        reference, candidate: runners of the same model.
        puzzles: real ones, at least one; a model with puzzle identifiers gets identifier 0.
        gates: what to demand; by default those of the precision in the candidate's contract.
        batch_size: rows a step; a runner of a fixed batch gets them in slices of that.
        progress: told of every finished step.
        steps_only: stop after the forced values, for a quick look; a candidate that holds the
            whole loop has none and is compared in full.

    Raises:
        RejectedInputError: the puzzles do not fit the reference.
        ContractMismatchError: a runner returns other tensors than its contract says.
        UsageError: no gates for the precision, a batch size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size: expected 1 or more, got {batch_size}")
    expected, found = reference.contract, candidate.contract
    gates = gates or gates_for(found.precision, tuned=found.halt.trained is not None)
    tokens = _tokens(expected, puzzles.inputs)
    count = len(tokens["inputs"])
    inside = found.granularity == "loop"
    wanted = as_loop(expected) if inside else expected
    problems = {name: check(wanted, found) for name, check in CHECKS.items()}
    head: dict[str, Any] = {
        "precision": found.precision,
        "gates": gates,
        "puzzles": count,
        "kind": getattr(puzzles, "kind", "puzzles"),
        "refilled_slots": 0 if inside else refilled_count(count),
        "same_weights": expected.made_by.weights_sha256 == found.made_by.weights_sha256,
    }
    if any(problems.values()):
        return ParityResult(**head, rungs=contract_rungs(problems))
    if steps_only and not inside:
        climb = _Climb(reference, candidate, tokens, free=False)
        climb.run(batch_size, progress or _silent)
        forced = climb.errors()
        rungs = (*contract_rungs(problems), *step_rungs(gates, forced))
        return ParityResult(**head, rungs=rungs, forced=forced)
    measure = _inside if inside else _climb
    found_out = measure(reference, candidate, tokens, batch_size, progress or _silent)
    expected_run, run = found_out.reference, found_out.candidate
    settled = settled_puzzles(expected_run, puzzles.labels)
    forced, free = found_out.forced, found_out.free(settled)
    threshold = expected.halt.threshold
    decisions = decide(expected_run, run, settled, threshold, *_largest(forced))
    score = accuracy(expected, tokens["inputs"], puzzles.labels, expected_run.answers, run.answers)
    values = value_rungs(gates, forced, free, found_out.broken_rows, decisions, score)
    return ParityResult(
        **head,
        rungs=(*contract_rungs(problems), *values),
        forced=forced,
        free=free,
        decisions=decisions,
        accuracy=score,
    )


@dataclass(frozen=True)
class _Measured:
    """What running both sides gave."""

    reference: Latch
    candidate: Decided
    broken_rows: int  # puzzles on which only the candidate becomes non-finite
    forced: tuple[TensorError, ...] = ()
    free: Callable[[Array], tuple[FreeStep, ...]] = lambda settled: ()


def _climb(
    reference: StepRunner,
    candidate: StepRunner,
    tokens: Mapping[str, Array],
    batch_size: int,
    progress: Progress,
) -> _Measured:
    """Both sides step by step, forced and free."""
    climb = _Climb(reference, candidate, tokens, free=True)
    climb.run(batch_size, progress)
    runs = climb.free
    broken = int(runs.nonfinite.sum())
    return _Measured(runs.reference, runs.candidate, broken, climb.errors(), runs.steps)


def _inside(
    reference: StepRunner,
    candidate: StepRunner,
    tokens: Mapping[str, Array],
    batch_size: int,
    progress: Progress,
) -> _Measured:
    """A candidate that holds the whole loop: only its decisions can be seen."""
    contract, count = reference.contract, len(tokens["inputs"])
    latch = Latch(contract, count)
    batches = [b for b in all_slots(count, batch_size) if not b.refilled]
    for number, slots in enumerate(batches):
        carry = initial_carry(contract, len(slots.numbers))
        inputs = {name: array[slots.numbers] for name, array in tokens.items()}
        for step in range(1, contract.max_steps + 1):
            output = _stepped(reference, inputs, carry)
            latch.add(step, slots.numbers, output.outputs)
            carry = output.carry
            progress(number * contract.max_steps + step, len(batches) * contract.max_steps)
    free = candidate.contract.batch is None
    solution = solve(candidate, tokens, batch_size=batch_size if free else None)
    return _Measured(latch, solution, solution.stop_reasons.count("nonfinite"))


def _silent(done: int, total: int) -> None:
    pass


def _tokens(contract: StepContract, inputs: Array) -> dict[str, Array]:
    named = {"inputs": np.asarray(inputs)}
    if any(spec.name == "puzzle_identifiers" for spec in contract.inputs):
        named["puzzle_identifiers"] = np.zeros(named["inputs"].shape[:1], dtype=np.int32)
    tokens = check_inputs(contract, named)
    if len(tokens["inputs"]) == 0:
        raise UsageError("parity needs at least one puzzle, got none")
    return tokens


def _largest(forced: tuple[TensorError, ...]) -> tuple[float, float]:
    """The largest forced error of a logit, and of a halting score."""
    logits = [error.max_abs for error in forced if error.tensor == "logits"]
    scores = [error.max_abs for error in forced if error.tensor.startswith("q_")]
    return max(logits, default=0.0), 2 * max(
        scores, default=0.0
    )  # a score may be the difference of two


class _Climb:
    """All values of one comparison, forced and, if asked, free in one pass over the reference."""

    def __init__(
        self,
        reference: StepRunner,
        candidate: StepRunner,
        tokens: Mapping[str, Array],
        *,
        free: bool,
    ) -> None:
        self._sides, self._tokens = (reference, candidate), tokens
        self._contract = reference.contract
        self._count = len(tokens["inputs"])
        self._sums = _sums(self._contract)
        self._runs_free = free
        self.free = FreeRuns(self._contract, candidate.contract, self._count)

    def run(self, batch_size: int, progress: Progress) -> None:
        """Run every batch to the last step."""
        batches = list(all_slots(self._count, batch_size))
        steps = self._contract.max_steps
        for number, slots in enumerate(batches):
            for step in self._batch(slots):
                progress(number * steps + step, len(batches) * steps)

    def _batch(self, slots: Slots) -> Iterator[int]:
        """Every step of one batch, each yielded when it is done."""
        reference, candidate = self._sides
        carry = own = initial_carry(self._contract, len(slots.numbers))
        for step in range(1, self._contract.max_steps + 1):
            inputs = shown(self._contract, slots, step, self._tokens)
            carry = disturbed(self._contract, slots, step, carry)
            expected = _stepped(reference, inputs, carry)
            forced = _stepped(candidate, inputs, carry)
            rows = puzzle_rows(slots, step, self._count)
            self._judge(step, rows, expected, forced, slots.refilled)
            if self._runs_free and not slots.refilled:
                alone = forced if step == 1 else _stepped(candidate, inputs, own)
                self.free.add(step, rows, expected, alone)
                own = alone.carry
            carry = expected.carry
            yield step

    def _judge(
        self, step: int, rows: Array, expected: StepOutput, got: StepOutput, refilled: bool
    ) -> None:
        pairs = ((expected.carry, got.carry), (expected.outputs, got.outputs))
        for ours, theirs in pairs:
            for name, array in ours.items():
                self._sums[step, name].add(array, theirs[name], rows, refilled)

    def errors(self) -> tuple[TensorError, ...]:
        """Every forced error, by step, integers first: a wrong counter explains a wrong state."""
        return tuple(total.error() for total in self._sums.values())


def _sums(contract: StepContract) -> dict[tuple[int, str], TensorSum]:
    specs: list[AnySpec] = [*contract.carry, *contract.outputs]
    specs.sort(key=lambda spec: spec.dtype == "float32")
    return {
        (step, spec.name): TensorSum(step, spec.name, spec.dtype)
        for step in range(1, contract.max_steps + 1)
        for spec in specs
    }


def _stepped(runner: StepRunner, inputs: Arrays, carry: Arrays) -> StepOutput:
    """One step of any number of rows, slice by slice where the batch is fixed, the last filled."""
    count = len(inputs["inputs"])
    fixed = runner.contract.batch or count
    slices = [range(start, min(start + fixed, count)) for start in range(0, count, fixed)]
    outputs = [_one_slice(runner, inputs, carry, np.resize(rows, fixed)) for rows in slices]
    return StepOutput(
        _joined([output.carry for output in outputs], count),
        _joined([output.outputs for output in outputs], count),
    )


def _one_slice(runner: StepRunner, inputs: Arrays, carry: Arrays, rows: Array) -> StepOutput:
    output = runner.step(_taken(inputs, rows), _taken(carry, rows))
    check_step_output(runner.contract, output.carry, output.outputs, len(rows))
    return output


def _taken(arrays: Arrays, rows: Array) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


def _joined(parts: list[Arrays], count: int) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
