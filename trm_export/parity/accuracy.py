"""How many puzzles each side gets right, and whether the difference means anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_export.parity.counts import mcnemar, wilson
from trm_export.tasks import Task, find_task
from trm_runtime.contract import StepContract

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Score:
    """One side's answers against the labels of n puzzles."""

    exact: float  # share of puzzles answered in full
    interval: tuple[float, float]  # of that share, Wilson, 95 %
    cells: float  # share of right cells: the blank ones of a known task, all of another
    valid: float | None  # share of answers that obey the rules of a known task


@dataclass(frozen=True)
class Accuracy:
    """Both sides, and the puzzles on which they differ (rows of the puzzles)."""

    n: int
    reference: Score
    candidate: Score
    lost: tuple[int, ...]  # only the reference solves these
    won: tuple[int, ...]  # only the candidate does
    p_value: float  # McNemar, exact, two-sided: chance of such a difference between equals

    @property
    def drop(self) -> float:
        """Share of puzzles by which the candidate is worse."""
        return self.reference.exact - self.candidate.exact


def accuracy(
    contract: StepContract, inputs: Array, labels: Array | None, expected: Array, got: Array
) -> Accuracy | None:
    """Judge the answers of both sides, if there are labels; all arrays (N, S) int32 tokens."""
    if labels is None:
        return None
    task = find_task(contract)
    right = [_exact(task, inputs, answers, labels) for answers in (expected, got)]
    lost, won = np.flatnonzero(right[0] & ~right[1]), np.flatnonzero(right[1] & ~right[0])
    return Accuracy(
        n=len(labels),
        reference=_score(contract, inputs, labels, expected),
        candidate=_score(contract, inputs, labels, got),
        lost=tuple(lost.tolist()),
        won=tuple(won.tolist()),
        p_value=mcnemar(len(lost), len(won)),
    )


def _exact(task: Task | None, inputs: Array, answers: Array, labels: Array) -> Array:
    """(N,) bool: the whole answer is right."""
    if task is None:
        return (answers == labels).all(axis=1)
    return task.check(inputs, answers, labels).exact


def _score(contract: StepContract, inputs: Array, labels: Array, answers: Array) -> Score:
    task, n = find_task(contract), len(labels)
    hits = int(_exact(task, inputs, answers, labels).sum())
    cells, valid = float((answers == labels).mean()), None
    if task is not None:
        checks = task.check(inputs, answers, labels)
        cells, valid = float(checks.cell_accuracy.mean()), float(checks.valid.mean())
    return Score(hits / n, wilson(hits, n), cells, valid)
