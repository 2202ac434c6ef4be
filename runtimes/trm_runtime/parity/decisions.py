"""Answers and halting steps of two free runs: where they differ, and whether it was a close call.

A difference is a near-tie when the reference itself hardly prefers its own decision: the logits of
its answer and of its second choice, or its halting score and the threshold, are closer than
`tolerance`. That is 100 times the largest forced error of these numbers, within 1e-3 and 0.1: in
free running the errors of earlier steps add up to more than that of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.parity.outcomes import Columns

Array = np.ndarray[Any, Any]

_GROWTH, _LEAST, _MOST = 100.0, 1e-3, 0.1


@dataclass(frozen=True)
class Difference:
    """One puzzle on which the two sides decide differently."""

    puzzle: int  # row of the puzzles
    kind: str  # "answer" or "halting step"
    settled: bool  # otherwise the reference is at sea there itself, and so may the candidate be
    near_tie: bool
    margin: float  # logits between the reference's decision and another one
    expected: int  # halting step, or the token at the first differing cell
    got: int
    cells: int = 0  # how many cells of an answer differ
    first_cell: int = 0


@dataclass(frozen=True)
class Decisions:
    """What N puzzles come to on the two sides."""

    puzzles: int
    settled: int
    answers_equal: int  # of the settled ones, here and below
    answers_near_tie: int
    cells_equal: float  # share
    steps_equal: int
    steps_near_tie: int
    unsettled_answers_equal: int
    unsettled_steps_equal: int
    mean_steps: float  # all puzzles, reference
    candidate_mean_steps: float
    logit_tolerance: float  # what a near-tie in an answer is
    score_tolerance: float  # and in a halting step
    differences: tuple[Difference, ...]  # by puzzle


def tolerance(forced_error: float) -> float:
    """The largest margin of a near-tie, in logits, from the largest forced error of such."""
    return min(max(_GROWTH * forced_error, _LEAST), _MOST)


def decide(columns: Columns, logit_error: float, score_error: float) -> Decisions:
    """Compare the answers and halting steps of all puzzles; the errors are the largest forced."""
    logit_limit, score_limit = tolerance(logit_error), tolerance(score_error)
    steps = _step_differences(columns, score_limit)
    close = {d.puzzle for d in steps if d.near_tie}
    answers = _answer_differences(columns, logit_limit, close)
    settled = columns["settled"]
    total, count = len(settled), int(settled.sum())
    cells = int(columns["cells"][settled].sum())
    different = int(columns["different"][settled].sum())
    return Decisions(
        puzzles=total,
        settled=count,
        answers_equal=count - _count(answers, settled=True),
        answers_near_tie=sum(d.near_tie for d in answers if d.settled),
        cells_equal=1.0 - different / cells if cells else 1.0,
        steps_equal=count - _count(steps, settled=True),
        steps_near_tie=sum(d.near_tie for d in steps if d.settled),
        unsettled_answers_equal=total - count - _count(answers, settled=False),
        unsettled_steps_equal=total - count - _count(steps, settled=False),
        mean_steps=float(columns["steps"].mean()),
        candidate_mean_steps=float(columns["got_steps"].mean()),
        logit_tolerance=logit_limit,
        score_tolerance=score_limit,
        differences=tuple(sorted((*answers, *steps), key=lambda d: (d.puzzle, d.kind))),
    )


def _count(differences: list[Difference], *, settled: bool) -> int:
    return sum(d.settled is settled for d in differences)


def _step_differences(columns: Columns, limit: float) -> list[Difference]:
    """The margin is that of the earlier of the two steps: there one side halts and one does not."""
    different = np.flatnonzero(columns["steps"] != columns["got_steps"])
    names = ("row", "settled", "step_margin", "steps", "got_steps")
    return [
        Difference(row, "halting step", settled, margin <= limit, margin, step, got)
        for row, settled, margin, step, got in _rows(columns, names, different)
    ]


def _answer_differences(columns: Columns, limit: float, close: set[int]) -> list[Difference]:
    """The margin is that of the clearest differing cell; a near-tie in the step excuses it too."""
    different = np.flatnonzero(columns["different"])
    names = ("row", "settled", "answer_margin", "expected", "got", "different", "first")
    return [
        Difference(row, "answer", settled, margin <= limit or row in close, margin, *values)
        for row, settled, margin, *values in _rows(columns, names, different)
    ]


def _rows(columns: Columns, names: tuple[str, ...], rows: Array) -> list[tuple[Any, ...]]:
    return list(zip(*(columns[name][rows].tolist() for name in names)))
