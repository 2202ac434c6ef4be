"""Answers and halting steps of two free runs: their differences, and which are near-ties.

A difference is a near-tie if the margin of the reference's own decision is small: the logits of its
answer and of its second choice, or its halting score and the threshold, are closer than
`tolerance`. That is 100 times the largest forced error of these numbers, limited to 1e-3 to 0.1: in
a free run the errors of several steps add up.

All puzzles are counted; the first LISTED differences of each kind are listed, beginning with those
that can fail a gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.display import field_table, one_line
from trm_runtime.parity.outcomes import Columns

Array = np.ndarray[Any, Any]

_GROWTH, _LEAST, _MOST = 100.0, 1e-3, 0.1
LISTED = 1000  # differences of each kind, so that documents stay small


@dataclass(frozen=True)
class Difference:
    """One puzzle on which the two sides decide differently."""

    puzzle: int  # row of the puzzles
    kind: str  # "answer" or "halting step"
    settled: bool  # if not, the reference has not converged on this puzzle either
    near_tie: bool
    margin: float  # logits between the reference's decision and another one
    expected: int  # halting step, or the token at the first differing cell
    got: int
    cells: int = 0  # how many cells of an answer differ
    first_cell: int = 0


@dataclass(frozen=True)
class Decisions:
    """The decisions of the two sides on N puzzles, as counts."""

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
    logit_tolerance: float  # largest margin of a near-tie in an answer
    score_tolerance: float  # and of one in a halting step
    lost_near_tie: int  # puzzles that only the reference solves, by a near-tie
    differences: tuple[Difference, ...]  # by puzzle, the first LISTED of each kind
    unlisted: int  # differences beyond these

    __repr__ = one_line
    _repr_html_ = field_table


def tolerance(forced_error: float) -> float:
    """The largest margin of a near-tie, in logits, from the largest forced error."""
    return min(max(_GROWTH * forced_error, _LEAST), _MOST)


def decide(columns: Columns, logit_error: float, score_error: float) -> Decisions:
    """Compare the answers and halting steps of all puzzles; the errors are the largest forced.

    A puzzle that ends in NaN or infinity has no answer and no halting step, so both differ.
    """
    logit_limit, score_limit = tolerance(logit_error), tolerance(score_error)
    settled = columns["settled"]
    broken = columns["broken"]
    steps = (columns["steps"] != columns["got_steps"]) | broken
    near_steps = steps & ~broken & (columns["step_margin"] <= score_limit)
    answers = (columns["different"] > 0) | broken
    near_answers = answers & ~broken & ((columns["answer_margin"] <= logit_limit) | near_steps)
    lost = (columns["exact"] == 1) & (columns["got_exact"] == 0)
    total, count = len(settled), int(settled.sum())
    cells = int(columns["cells"][settled].sum())
    different = int(columns["different"][settled].sum())
    listed = [
        *_listed(columns, _STEP, steps, near_steps),
        *_listed(columns, _ANSWER, answers, near_answers),
    ]
    return Decisions(
        puzzles=total,
        settled=count,
        answers_equal=_count(settled & ~answers),
        answers_near_tie=_count(settled & near_answers),
        cells_equal=1.0 - different / cells if cells else 1.0,
        steps_equal=_count(settled & ~steps),
        steps_near_tie=_count(settled & near_steps),
        unsettled_answers_equal=_count(~settled & ~answers),
        unsettled_steps_equal=_count(~settled & ~steps),
        mean_steps=float(columns["steps"].mean()),
        candidate_mean_steps=float(columns["got_steps"].mean()),
        logit_tolerance=logit_limit,
        score_tolerance=score_limit,
        lost_near_tie=_count(lost & (near_answers | near_steps)),
        differences=tuple(sorted(listed, key=lambda d: (d.puzzle, d.kind))),
        unlisted=_count(steps) + _count(answers) - len(listed),
    )


def _count(rows: Array) -> int:
    return int(rows.sum())


# A kind of difference, and the columns of its margin, both decisions, cells and the first of these.
# The margin of a step is that of the earlier step, at which one side halts and the other does not.
# The margin of an answer is the largest of its differing cells; a near-tie in the step also counts.
_STEP = ("halting step", "step_margin", "steps", "got_steps")
_ANSWER = ("answer", "answer_margin", "expected", "got", "different", "first")


def _listed(
    columns: Columns, kind: tuple[str, ...], different: Array, near: Array
) -> list[Difference]:
    rows = np.flatnonzero(different)
    excused = near[rows] | ~columns["settled"][rows]
    rows = rows[np.argsort(excused, kind="stable")][:LISTED]
    head = (columns["row"][rows].tolist(), columns["settled"][rows].tolist(), near[rows].tolist())
    values = (columns[name][rows].tolist() for name in kind[1:])
    return [
        Difference(row, kind[0], settled, tie, *rest)
        for row, settled, tie, *rest in zip(*head, *values)
    ]
