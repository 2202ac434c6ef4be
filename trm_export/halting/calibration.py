"""How confident an answer is: the fit of its probability, and how well that holds on other puzzles.

A logistic regression on the halting score, how far the states moved, and the agreement of tries,
with the smoothed targets of Platt (1999), so that a sample without a wrong answer does not claim
certainty. Numpy only; knows neither models nor files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from trm_runtime.certainty import features
from trm_runtime.confidence import Confidence
from trm_runtime.display import Table
from trm_runtime.errors import UsageError
from trm_runtime.parity.counts import wilson
from trm_runtime.solution import Solution

Array = np.ndarray[Any, Any]

COVERAGES = (0.5, 0.8, 0.95)
_FOLDS = 5
_RIDGE = 1e-2  # of coefficients of features with deviation 1, in puzzles
_COST = 1.01  # factor of the loss for each feature
_BINS = 10
_FEWEST = 20  # answers to fit on


@dataclass(frozen=True)
class Answers:
    """The answers to N puzzles, one each, and what may tell whether they are right."""

    score: Array  # (N,) float32, halting score in logits; NaN for no answer
    right: Array  # (N,) bool
    moved: Array | None = None  # (N,) float32; None if not measured
    agreement: Array | None = None  # (N,) float32; None for one try


@dataclass(frozen=True)
class CoveragePoint:
    """The errors among the most confident answers."""

    coverage: float  # share of puzzles that are answered
    answered: int
    wrong: int
    risk: float  # share of wrong answers among them
    interval: tuple[float, float]  # of that share, Wilson, 95 %
    confidence: float  # of the least confident answer


@dataclass(frozen=True)
class Calibration:
    """How well the confidence of N answers holds."""

    puzzles: int
    brier: float  # mean square of confidence - right; 0 is best
    interval: tuple[float, float]  # of that mean, normal, 95 %
    error: float  # expected calibration error: mean |confidence - share right| of bins of one size
    points: tuple[CoveragePoint, ...]  # at COVERAGES
    curve: tuple[CoveragePoint, ...]  # at all the numbers of answers, at most 100 of them


def answers_of(solution: Solution, right: Array) -> Answers:
    """Those of `solve`, with the movement and the agreement that it has."""
    score = solution.contract.halt.score(solution.q_halt, solution.q_continue)
    broken = np.array([reason == "nonfinite" for reason in solution.stop_reasons])
    score = np.where(broken, np.float32(np.nan), score)
    return Answers(score, right, solution.moved, solution.agreement)


def calibrate(answers: Answers, tries: int = 1) -> Confidence:
    """The coefficients; a feature is used only if it lowers the loss by one per cent.

    The loss is the mean log loss of five folds, each by coefficients that were fitted without it;
    puzzle i is in fold i mod 5. UsageError for fewer than 20 answers.
    """
    known, right = ~np.isnan(answers.score), answers.right[~np.isnan(answers.score)]
    if len(right) < _FEWEST:
        raise UsageError(
            f"The confidence is fitted on {_FEWEST} answers or more, got {len(right)}; "
            "give more puzzles."
        )
    values = features(answers.score, answers.moved, answers.agreement)[known]
    usable = [column for column in range(3) if np.ptp(values[:, column]) > 0]
    sets = [kept for size in range(len(usable) + 1) for kept in combinations(usable, size)]
    kept = min(sets, key=lambda kept: _held_out(values[:, list(kept)], right) * _COST ** len(kept))
    bias, *found = _fitted(values[:, list(kept)], right)
    weights = dict.fromkeys(range(3), 0.0) | dict(zip(kept, found, strict=True))
    rounded = [float(f"{number:.6g}") for number in (bias, *(weights[i] for i in range(3)))]
    bias, score, moved, agreement = rounded
    return Confidence(bias, score, moved, agreement, len(answers.right), tries)


def _held_out(values: Array, right: Array) -> float:
    """The mean log loss of puzzles that the coefficients were not fitted on."""
    folds, losses = np.arange(len(right)) % _FOLDS, []
    for fold in range(_FOLDS):
        bias, *weights = _fitted(values[folds != fold], right[folds != fold])
        test = folds == fold
        logits = values[test] @ np.array(weights) + bias
        losses.append(np.logaddexp(0.0, np.where(right[test], -logits, logits)))
    return float(np.concatenate(losses).mean())


def _fitted(values: Array, right: Array) -> list[float]:
    """The bias and the coefficients of features (N, n), by Newton's method on scaled features."""
    hits = int(right.sum())
    misses = len(right) - hits
    targets = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    middle, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = np.column_stack([np.ones(len(right)), (values - middle) / scale])
    ridge = np.diag([0.0, *[_RIDGE] * values.shape[1]]) + 1e-9 * np.eye(values.shape[1] + 1)
    found = np.zeros(scaled.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(scaled @ found, -30, 30)))
        slope = scaled.T @ (p - targets) + ridge @ found
        curvature = (scaled * np.maximum(p * (1 - p), 1e-6)[:, None]).T @ scaled + ridge
        step = np.linalg.solve(curvature, slope)
        found -= step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    weights = found[1:] / scale
    return [float(found[0] - weights @ middle), *map(float, weights)]


def coverage_table(calibration: Calibration, title: str) -> Table:
    """The risk at each coverage, for people."""
    rows = [
        (
            f"{point.coverage:.0%}",
            str(point.answered),
            str(point.wrong),
            f"{point.risk:.2%}",
            "{:.1f} to {:.1f} %".format(*(100 * end for end in point.interval)),
            f"{point.confidence:.4f}",
        )
        for point in calibration.points
    ]
    heads = ("coverage", "answered", "wrong", "risk", "95 % interval", "confidence")
    return Table(title, rows, heads)


def judged(confidence: Array, right: Array) -> Calibration:
    """How well the confidence (N,) of answers that are right or not (N,) holds."""
    count = len(right)
    order = np.argsort(-confidence, kind="stable")
    sure, hits = confidence[order].astype(np.float64), right[order]
    squares = (sure - hits) ** 2
    brier, half = float(squares.mean()), 1.96 * float(squares.std()) / count**0.5
    bins = [chunk for chunk in np.array_split(np.arange(count), _BINS) if len(chunk)]
    gaps = [len(chunk) * abs(sure[chunk].mean() - hits[chunk].mean()) for chunk in bins]
    numbers = np.unique(np.linspace(1, count, min(count, 100)).round().astype(int))
    return Calibration(
        puzzles=count,
        brier=brier,
        interval=(max(0.0, brier - half), min(1.0, brier + half)),
        error=float(sum(gaps) / count),
        points=_covered(sure, hits, (max(1, round(share * count)) for share in COVERAGES)),
        curve=_covered(sure, hits, map(int, numbers)),
    )


def _covered(sure: Array, hits: Array, numbers: Iterable[int]) -> tuple[CoveragePoint, ...]:
    """The points of so many answers each, the most confident first; of equal ones the first."""
    wrong, count = np.cumsum(~hits), len(hits)
    return tuple(
        CoveragePoint(
            coverage=number / count,
            answered=number,
            wrong=int(wrong[number - 1]),
            risk=float(wrong[number - 1] / number),
            interval=wilson(int(wrong[number - 1]), number),
            confidence=float(sure[number - 1]),
        )
        for number in numbers
    )
