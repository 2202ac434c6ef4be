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

from trm_export.parity.free import Decided, Latch

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
    cells: tuple[int, ...] = ()  # the differing cells of an answer


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


def settled_puzzles(reference: Latch, labels: Array | None) -> Array:
    """(N,) bool: the reference solves the puzzle or, without labels, halts before the last step."""
    if labels is None:
        return reference.steps < len(reference.scores)
    solved: Array = (reference.answers == labels).all(axis=1)
    return solved


def decide(
    expected: Latch,
    got: Decided,
    settled: Array,
    threshold: float,
    logit_error: float,
    score_error: float,
) -> Decisions:
    """Compare the latched answers and halting steps of two finished runs.

    `threshold` is that of the halt rule, the errors are the largest forced ones.
    """
    logit_limit, score_limit = tolerance(logit_error), tolerance(score_error)
    steps = _step_differences(expected, got, settled, threshold, score_limit)
    close = {d.puzzle for d in steps if d.near_tie}
    answers = _answer_differences(expected, got, settled, logit_limit, close)
    total, count = len(settled), int(settled.sum())
    same = (expected.answers == got.answers)[settled]
    return Decisions(
        puzzles=total,
        settled=count,
        answers_equal=count - _count(answers, settled=True),
        answers_near_tie=sum(d.near_tie for d in answers if d.settled),
        cells_equal=float(same.mean()) if count else 1.0,
        steps_equal=count - _count(steps, settled=True),
        steps_near_tie=sum(d.near_tie for d in steps if d.settled),
        unsettled_answers_equal=total - count - _count(answers, settled=False),
        unsettled_steps_equal=total - count - _count(steps, settled=False),
        mean_steps=float(expected.steps.mean()),
        candidate_mean_steps=float(got.steps.mean()),
        logit_tolerance=logit_limit,
        score_tolerance=score_limit,
        differences=tuple(sorted((*answers, *steps), key=lambda d: (d.puzzle, d.kind))),
    )


def _count(differences: list[Difference], *, settled: bool) -> int:
    return sum(d.settled is settled for d in differences)


def _step_differences(
    expected: Latch, got: Decided, settled: Array, threshold: float, limit: float
) -> list[Difference]:
    """The margin is that of the earlier of the two steps: there one side halts and one does not."""
    found = []
    for row in np.flatnonzero(expected.steps != got.steps).tolist():
        pair = int(expected.steps[row]), int(got.steps[row])
        margin = abs(float(expected.scores[min(pair) - 1, row]) - threshold)
        near = margin <= limit
        found.append(Difference(row, "halting step", bool(settled[row]), near, margin, *pair))
    return found


def _answer_differences(
    expected: Latch, got: Decided, settled: Array, limit: float, close: set[int]
) -> list[Difference]:
    """The margin is that of the clearest differing cell; a near-tie in the step excuses it too."""
    found = []
    different = expected.answers != got.answers
    for row in np.flatnonzero(different.any(axis=1)).tolist():
        cells = np.flatnonzero(different[row])
        margin = float(expected.margins[row, cells].max())
        first = int(cells[0])
        tokens = int(expected.answers[row, first]), int(got.answers[row, first])
        near = margin <= limit or row in close
        places = tuple(cells.tolist())
        found.append(Difference(row, "answer", bool(settled[row]), near, margin, *tokens, places))
    return found
