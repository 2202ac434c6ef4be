"""Several tries: what is read from one run of all tries is what the loop does on one slot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import MAX_STEPS, FakeRunner
from tests.runtime.test_tries import FEW, contract_with
from trm_export.halting.trying import Outcome, least_sure, outcomes, run_tries
from trm_export.halting.tuning import tune
from trm_export.tasks import PuzzleSet
from trm_runtime import HaltRule, solve

AGAIN = {"tries": 5, "vary": "symmetry", "choose": "score", "seed": 0, "sigma": 0.2}
THRESHOLDS = (-5.0, -2.0, -0.2, 0.0, 1.0)


def solved_by_some() -> PuzzleSet:
    """Puzzles that the first try, another try or none answers right."""
    puzzles = toy_puzzles(24)
    labels = puzzles.solutions.copy()
    again = solve(FakeRunner(contract_with()), puzzles.inputs, tries=5, max_steps=2, batch_size=1)
    labels[::2] = again.answers[::2]
    labels[::5] = 0
    return replace(puzzles, labels=labels)


def same(found: Outcome, puzzles: PuzzleSet, runner: FakeRunner, **options: Any) -> None:
    solution = solve(runner, puzzles.inputs, batch_size=1, **options)
    np.testing.assert_array_equal(found.steps, solution.all_steps)
    np.testing.assert_array_equal(found.right, puzzles.exact(solution.answers))


@pytest.mark.parametrize("poison", [{}, {"poison": {3: ("z_H", 2)}}])
def test_a_trace_of_all_tries_has_what_the_loop_does(poison: dict[str, Any]) -> None:
    puzzles = solved_by_some()
    runner = FakeRunner(contract_with(), **poison)
    traces = run_tries(runner, puzzles, AGAIN, 0.0)
    assert len(traces) == 5
    assert least_sure(traces[0], 0.0) > 1.0
    kinds = set()
    for threshold in THRESHOLDS:
        for most in (1, 2, 3, MAX_STEPS):
            for number, found in enumerate(outcomes(traces, threshold, most), 1):
                options = {"tries": number, "halt": threshold, "max_steps": most}
                same(found, puzzles, runner, **options)
                kinds.add((number, int(found.right.sum())))
    assert len(kinds) > 10


def test_a_run_that_stops_at_the_threshold_has_the_same_results() -> None:
    puzzles = solved_by_some()
    traces = run_tries(FakeRunner(contract_with()), puzzles, AGAIN, 4.0)
    shorter = run_tries(FakeRunner(contract_with()), puzzles, AGAIN, 4.0, all_steps=False)
    for one, other in zip(outcomes(traces, 4.0), outcomes(shorter, 4.0), strict=True):
        np.testing.assert_array_equal(one.steps, other.steps)
        np.testing.assert_array_equal(one.right, other.right)


@pytest.mark.parametrize("prefer", ["score", "first"])
def test_a_threshold_is_tuned_for_all_tries(prefer: str) -> None:
    puzzles = solved_by_some()
    runner = FakeRunner(contract_with())
    traces = run_tries(runner, puzzles, AGAIN, 0.0)
    found = tune(HaltRule("q_halt", 0.0), traces[0], 0.0, traces[1:], prefer)
    assert len(found.points) > 3
    for point in found.points:
        options: dict[str, Any] = {"tries": 5, "choose": prefer, "halt": point.threshold}
        solution = solve(runner, puzzles.inputs, batch_size=1, **options)
        assert point.mean_steps == solution.mean_steps
        assert point.exact == puzzles.exact(solution.answers).mean()
    assert found.all_steps is None
    assert found.chosen.exact == max(point.exact for point in found.points)


def test_a_budget_ends_the_last_try_and_keeps_the_best_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    puzzles = solved_by_some()
    traces = run_tries(FakeRunner(contract_with()), puzzles, AGAIN, 0.0)
    runner = FakeRunner(contract_with())
    monkeypatch.setattr("time.monotonic", lambda: float(len(runner.batches)))  # a second a step
    options: dict[str, Any] = {"halt": 0.0, "max_steps": 2}
    for budget in (1, 2, 3, 5, 7):
        for number, found in enumerate(outcomes(traces, 0.0, 2, budget), 1):
            same(found, puzzles, runner, tries=number, deadline_each=budget, **options)


def test_a_right_try_that_was_not_chosen_is_counted() -> None:
    puzzles = toy_puzzles(24)
    runner = FakeRunner(contract_with())
    first = solve(runner, puzzles.inputs, max_steps=2)
    traces = run_tries(runner, replace(puzzles, labels=first.answers), AGAIN, 0.0)
    last = list(outcomes(traces, 0.0, 2))[-1]
    assert 0 < last.missed == int((last.found & ~last.right).sum())
    assert next(outcomes(traces, 0.0, 2)).missed == 0
    assert not (last.right & ~last.found).any()


def test_only_unsure_puzzles_are_asked_again() -> None:
    puzzles = toy_puzzles(10)
    traces = run_tries(FakeRunner(contract_with()), puzzles, AGAIN, 0.0)
    assert len(traces) == 5
    asked_again = np.isfinite(traces[1].scores).any(axis=0)
    limit = least_sure(traces[0], 0.0)
    np.testing.assert_array_equal(asked_again, ~(traces[0].scores > limit).any(axis=0))


def test_tries_that_have_no_guise_left_cost_nothing() -> None:
    puzzles = solved_by_some()
    runner = FakeRunner(contract_with(FEW))
    traces = run_tries(runner, puzzles, AGAIN, 0.0)
    for number, found in enumerate(outcomes(traces, 0.0, 2), 1):
        same(found, puzzles, runner, tries=number, halt=0.0, max_steps=2)
