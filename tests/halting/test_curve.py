"""The curve of accuracy against steps, against a loop over puzzles that anybody can check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from trm_export.halting.curve import Point, candidates, choose, curve, pareto, point
from trm_runtime.contract import HALT_KINDS, HaltRule

T, N = 6, 40


def history(seed: int) -> tuple[Any, Any]:
    """Scores (T, N) that rise on the whole, and answers that are more often right with them."""
    rng = np.random.default_rng(seed)
    scores = (rng.normal(0, 2, (T, N)) + np.linspace(-2, 2, T)[:, None]).astype(np.float32)
    return scores, rng.random((T, N)) < 1 / (1 + np.exp(-scores))


def by_hand(scores: Any, exact: Any, threshold: float) -> tuple[float, float]:
    """Share of right answers and mean steps, puzzle by puzzle."""
    steps, hits = [], 0
    for row in range(scores.shape[1]):
        above = [t for t in range(len(scores)) if scores[t, row] > threshold]
        stop = above[0] if above else len(scores) - 1
        steps.append(stop + 1)
        hits += bool(exact[stop, row])
    return hits / len(steps), float(np.mean(steps))


def a_point(exact: float, steps: float, threshold: float = 0.0) -> Point:
    return Point(threshold, exact, (0.0, 1.0), steps, None)


@pytest.mark.parametrize("threshold", [-9.0, -1.0, 0.0, 0.7, 2.0, 99.0])
def test_a_point_is_what_a_loop_over_puzzles_gives(threshold: float) -> None:
    scores, exact = history(1)
    found = point(scores, exact, threshold)
    assert (found.exact, found.mean_steps) == pytest.approx(by_hand(scores, exact, threshold))
    assert found.interval[0] < found.exact < found.interval[1]


def test_every_outcome_is_on_the_curve() -> None:
    scores, exact = history(2)
    scores = scores.round(2)  # thresholds have four decimals
    every = np.unique(scores).astype(float)
    tried = {by_hand(scores, exact, t) for t in [every[0] - 1, *every, *(every + 1e-4)]}
    found = {(p.exact, p.mean_steps) for p in curve(scores, exact)}
    assert found == tried


def test_the_ends_are_one_step_and_all_steps() -> None:
    scores, exact = history(3)
    points = curve(scores, exact)
    assert points[0].mean_steps == 1
    assert points[-1].mean_steps == T
    steps = [p.mean_steps for p in points]
    assert steps == sorted(steps)
    assert [p.threshold for p in points] == sorted({p.threshold for p in points})


def test_many_scores_are_thinned() -> None:
    scores = np.random.default_rng(0).normal(0, 3, (16, 500)).astype(np.float32)
    found = candidates(scores, most=50)
    assert len(found) == 50
    points = curve(scores, scores > 0, found)
    assert max(np.diff([p.mean_steps for p in points])) < 0.8
    assert (points[0].mean_steps, points[-1].mean_steps) == (1, 16)


def test_a_score_that_is_no_number_halts_nobody_and_is_no_candidate() -> None:
    scores = np.array([[np.nan, -1.0], [2.0, np.inf], [np.nan, 9.0]], np.float32)
    assert candidates(scores) == (-2.0, 0.5, 2.0)
    assert point(scores, scores > 0, 0.5).mean_steps == 2
    assert candidates(np.full((2, 3), np.nan, np.float32)) == ()


def test_a_whole_score_is_still_on_the_right_side_of_both_ends() -> None:
    scores = np.array([[1.0, 3.0], [5.0, 4.0]], np.float32)
    low, *_, high = curve(scores, scores > 0)
    assert (low.mean_steps, high.mean_steps) == (1, 2)


def test_the_front_is_what_no_other_point_beats() -> None:
    points = [a_point(0.5, 1), a_point(0.9, 3), a_point(0.8, 3), a_point(0.9, 4), a_point(0.95, 9)]
    assert pareto(points) == (points[0], points[1], points[4])
    assert pareto([a_point(0.5, 1, 7.0), a_point(0.5, 1, 8.0)]) == (a_point(0.5, 1, 7.0),)
    scores, exact = history(4)
    points = list(curve(scores, exact))
    for kept in pareto(points):
        beats = [
            p for p in points
            if (p.exact >= kept.exact and p.mean_steps < kept.mean_steps)
            or (p.exact > kept.exact and p.mean_steps <= kept.mean_steps)
        ]  # fmt: skip
        assert beats == []


def test_the_choice_saves_the_steps_that_may_cost_something() -> None:
    points = [a_point(0.5, 1), a_point(0.949, 2), a_point(0.948, 2), a_point(0.951, 5)]
    assert choose(points, 0.0) == points[3]
    assert choose(points, 0.002) == points[1]
    assert choose(points, 1.0) == points[0]
    assert choose(points, 0.002, best=0.96) == points[3]


def test_a_puzzle_more_or_less_is_no_matter_of_rounding() -> None:
    for n in (400, 500, 1000):
        points = [a_point((n - 1) / n, 1), a_point(n / n, 2)]
        assert choose(points, 1 / n) == points[0]


@pytest.mark.parametrize(("kind", "wanted"), [(HALT_KINDS[0], [1, 2]), (HALT_KINDS[1], [4, -2])])
def test_one_score_serves_arrays_and_tensors(kind: str, wanted: list[float]) -> None:
    q_halt, q_continue = np.array([1, 2], np.float32), np.array([-3, 4], np.float32)
    rule = HaltRule(kind)
    assert rule.score(q_halt, q_continue).tolist() == wanted
    tensor = rule.score(ops.convert_to_tensor(q_halt), ops.convert_to_tensor(q_continue))
    assert ops.convert_to_numpy(tensor).tolist() == wanted
