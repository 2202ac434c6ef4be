"""Accuracy against steps for several tries: one run of all tries, and the results of any choice.

A puzzle is asked again until a try ends with a score above the threshold; the answer of the highest
score counts. That is `solve(..., tries=K)` on one slot, where tries run one after the other. Numpy
and the device's loop; knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_export.halting.calibration import answers_of, calibrate
from trm_export.halting.curve import Point, Trace, latched, latched_steps, point_of
from trm_export.tasks import PuzzleSet
from trm_runtime.confidence import Confidence
from trm_runtime.contract import HaltRule
from trm_runtime.errors import UsageError
from trm_runtime.loop import solve
from trm_runtime.parity.outcomes import Valid
from trm_runtime.runner import StepRunner
from trm_runtime.solution import StepEvent

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], object]  # steps done, and to do at most, of this run


@dataclass(frozen=True)
class Outcome:
    """The results of N puzzles with a number of tries."""

    right: Array  # (N,) bool: the chosen answer is right
    steps: Array  # (N,) int64: of all tries together
    found: Array  # (N,) bool: some try was right, chosen or not
    sure: Array  # (N,) bool: some try ended with a score above the threshold

    @property
    def missed(self) -> int:
        """The number of puzzles with a right try of which another was chosen."""
        return int((self.found & ~self.right).sum())


class _Record:
    """The traces (K, T, N) of a run of some of the puzzles."""

    def __init__(
        self,
        rule: HaltRule,
        shape: tuple[int, int, int],
        puzzles: PuzzleSet,
        rows: Array,
        valid: Valid | None,
        progress: Progress | None,
        measured: bool = False,
    ) -> None:
        self._rule, self._puzzles, self._rows, self._valid = rule, puzzles, rows, valid
        self._scores = np.full(shape, -np.inf, np.float32)
        self._exact = np.zeros(shape, bool)
        self._moved = np.zeros(shape, np.float32) if measured else None
        self._progress, self._done = progress, 0

    def __call__(self, event: StepEvent) -> None:
        rows = self._rows[event.rows]
        at = 0 if event.tries is None else event.tries, event.steps - 1, rows
        score = self._rule.score(event.q_halt, event.q_continue)
        bad = [reason == "nonfinite" for reason in event.stop_reasons]
        self._scores[at] = np.where(bad, np.inf, score)
        if self._moved is not None:
            self._moved[at] = np.where(bad, 0.0, np.asarray(event.moved))
        self._exact[at] = _right(self._puzzles, rows, event.answers, self._valid)
        self._done += len(rows)
        if self._progress is not None:
            tries, steps, _ = self._scores.shape
            self._progress(self._done, tries * steps * len(self._rows))

    @property
    def traces(self) -> list[Trace]:
        moved = [None] * len(self._scores) if self._moved is None else self._moved
        return [Trace(*each) for each in zip(self._scores, self._exact, moved, strict=True)]


def _right(puzzles: PuzzleSet, rows: Array, answers: Array, valid: Valid | None) -> Array:
    """(n,) bool: which answers to these rows are right, by the solutions or by the rules."""
    found: Array = (
        puzzles.exact(answers, rows) if valid is None else valid(puzzles.inputs[rows], answers)
    )
    return found


def run_all_steps(
    runner: StepRunner,
    puzzles: PuzzleSet,
    progress: Progress | None = None,
    valid: Valid | None = None,
    *,
    measured: bool = False,
) -> Trace:
    """Runs every puzzle to the last step. With `valid` answers are judged by it, not by solutions.

    `measured`: also how far the states move.

    Raises UsageError for puzzles without solutions, RejectedInputError for puzzles that do not fit.
    """
    contract = runner.contract
    shape = 1, contract.max_steps, len(puzzles if valid else puzzles.solutions)
    rows = np.arange(len(puzzles))
    record = _Record(contract.halt, shape, puzzles, rows, valid, progress, measured)
    feeds = puzzles.feeds(contract.num_puzzle_identifiers)
    solve(runner, feeds, halt="max_steps", on_step=record, settled=1.0 if measured else None)
    return record.traces[0]


def run_tries(
    runner: StepRunner,
    puzzles: PuzzleSet,
    again: Mapping[str, Any],
    threshold: float,
    *,
    all_steps: bool = True,
    first: Trace | None = None,
    progress: Progress | None = None,
    valid: Valid | None = None,
) -> tuple[Trace, ...]:
    """The trace of each try; one that is not asked has score -inf and a wrong answer throughout.

    `again` has the options of `solve` about tries. Without `all_steps` the traces hold for this
    threshold only; with it for lower ones, too, and for higher ones up to `least_sure` of the first
    trace: a puzzle with a score above is not asked again. `first` is that trace, where it is known.
    Raises what `solve` raises.
    """
    contract = runner.contract
    feeds = puzzles.feeds(contract.num_puzzle_identifiers)
    halt = "max_steps" if all_steps else threshold

    def run(rows: Array, tries: int, **options: Any) -> list[Trace]:
        shape = tries, contract.max_steps, len(puzzles)
        record = _Record(contract.halt, shape, puzzles, rows, valid, progress)
        if len(rows):
            asked = {name: array[rows] for name, array in feeds.items()}
            solve(runner, asked, halt=halt, on_step=record, tries=tries, **options)
        return record.traces

    if first is None:
        (first,) = run(np.arange(len(puzzles)), 1)
    if again["tries"] == 1:
        return (first,)
    limit = least_sure(first, threshold) if all_steps else threshold
    unsure = np.flatnonzero(~next(outcomes([first], limit)).sure)
    every = run(unsure, **{**again, "choose": "vote"})  # which all tries are run for
    return (first, *every[1:])


def calibrated_again(
    runner: StepRunner, puzzles: PuzzleSet, options: Mapping[str, Any], valid: Valid | None = None
) -> Confidence:
    """The probability that an answer of `solve` with these options is right."""
    feeds = puzzles.feeds(runner.contract.num_puzzle_identifiers)
    solution = solve(runner, feeds, **options)
    right = _right(puzzles, np.arange(len(puzzles)), solution.answers, valid)
    return calibrate(answers_of(solution, right), options["tries"])


def refuse_votes(again: Mapping[str, Any]) -> None:
    """UsageError for tries that vote: every one is asked then, whatever the threshold."""
    if again["tries"] > 1 and again["choose"] == "vote":
        raise UsageError(
            "With votes every puzzle is asked in all tries, so no threshold saves any; choose by "
            "score or first instead of vote."
        )


def least_sure(trace: Trace, threshold: float) -> float:
    """The highest threshold of use: that of a wrong answer's score, or the given one if higher."""
    wrong = trace.scores[~trace.exact & np.isfinite(trace.scores)]
    return max(threshold, float(wrong.max(initial=-np.inf)))


def tries_curve(
    traces: Sequence[Trace], thresholds: Iterable[float], choose: str = "score"
) -> tuple[Point, ...]:
    """A point for each threshold with all these tries, in ascending order."""
    found = ((one, last_outcome(traces, one, choose)) for one in sorted({*thresholds}))
    return tuple(point_of(threshold, one.right, one.steps) for threshold, one in found)


def last_outcome(traces: Sequence[Trace], threshold: float, choose: str = "score") -> Outcome:
    """The results with all these tries."""
    *_, found = outcomes(traces, threshold, choose=choose)
    return found


def outcomes(
    traces: Sequence[Trace],
    threshold: float,
    max_steps: int | None = None,
    budget: int | None = None,
    choose: str = "score",
) -> Iterator[Outcome]:
    """The results with 1, 2, ... tries, up to the number of traces.

    A try ends after `max_steps` if that is given, and all tries together after `budget` steps.
    `choose` is "score" or "first", as in `solve`.
    """
    count = traces[0].scores.shape[1]
    running, sure, found = np.ones(count, bool), np.zeros(count, bool), np.zeros(count, bool)
    steps, best, right = np.zeros(count, int), np.full(count, -np.inf), np.zeros(count, bool)
    for number, trace in enumerate(traces):
        asked = running & ~np.isneginf(trace.scores[0])
        own = np.where(asked, latched_steps(trace.scores[:max_steps], threshold), 0)
        if budget is not None:
            own = np.minimum(own, budget - steps)
        last = np.maximum(own, 1)
        scores, exact = latched(trace.scores, last), latched(trace.exact, last)
        usable = (own > 0) & ~np.isposinf(scores)
        passes = usable & (scores > threshold)
        better = usable & (scores > best) if choose == "score" else passes
        better = better if number else own > 0
        best = np.where(better & usable, scores, best)
        right = np.where(better, exact, right)
        found, steps = found | (usable & exact), steps + own
        sure = sure | passes
        running = ~sure & (budget is None or steps < budget)
        yield Outcome(right, steps, found, sure)
