"""The choice within a limit: a setting is what the loop does, and the cheapest good one wins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.halting.test_trying import AGAIN, solved_by_some
from tests.runtime.fakes import MAX_STEPS, FakeRunner
from tests.runtime.test_tries import contract_with
from trm_export.halting.planning import Candidates, settings
from trm_export.halting.trying import run_tries
from trm_runtime import solve


@pytest.mark.parametrize("budget", [1, 4, 9, None])
@pytest.mark.parametrize("timed", [True, False])
def test_every_setting_keeps_to_the_budget_and_is_what_the_loop_does(
    monkeypatch: pytest.MonkeyPatch, budget: int | None, timed: bool
) -> None:
    puzzles = solved_by_some()
    runner = FakeRunner(contract_with())
    traces = run_tries(runner, puzzles, AGAIN, 0.0)
    monkeypatch.setattr("time.monotonic", lambda: float(len(runner.batches)))  # a second a step
    found = list(settings(traces, 0.0, budget, timed=timed))
    assert {one.tries for one in found} >= {1}
    assert any(one.threshold == 0.0 for one in found)
    assert budget is None or max(one.steps.max() for one in found) <= budget
    late: dict[str, Any] = {"deadline_each": budget} if timed and budget else {}
    for one in found[::7]:
        options = {"halt": one.threshold, "tries": one.tries, "max_steps": one.max_steps, **late}
        solution = solve(runner, puzzles.inputs, batch_size=1, **options)
        np.testing.assert_array_equal(one.steps, solution.all_steps)
        np.testing.assert_array_equal(one.right, puzzles.exact(solution.answers))


def test_without_a_budget_all_steps_are_allowed() -> None:
    puzzles = solved_by_some()
    traces = run_tries(FakeRunner(contract_with()), puzzles, AGAIN, 0.0)
    found = list(settings(traces, 0.0, None, timed=True))
    assert {one.max_steps for one in found} == {1, 2, 4, MAX_STEPS}
    assert {one.tries for one in found} == {1, 2, 3, 4, 5}
    assert list(settings(traces, 0.0, 0, timed=True)) == []


def table(*rows: tuple[float, float], count: int = 100) -> Candidates:
    """Settings with these shares of right answers, evenly spread, and costs."""
    spread = (np.arange(count) * 7) % count
    right = np.array([spread < share * count for share, _ in rows])
    return Candidates(right, np.array([[cost] * count for _, cost in rows]))


def test_the_cheapest_of_the_good_ones_is_chosen() -> None:
    found = table((0.9, 9.0), (0.95, 20.0), (0.94, 12.0), (0.5, 1.0), (0.95, 20.0))
    assert found.chosen(None, 0.0) == 1
    assert found.chosen(None, 0.02) == 2
    assert found.chosen(0.9, 0.0) == 0
    assert found.chosen(0.4, 0.0) == 3
    assert found.chosen(0.96, 0.0) is None


def test_no_puzzle_judges_a_choice_that_it_took_part_in() -> None:
    count = 400
    noise = np.random.default_rng(0).random((300, count)) < 0.5
    found = Candidates(noise, np.ones((300, count)))
    index = found.chosen(None, 0.0)
    assert index is not None
    assert noise[index].mean() > 0.55  # the best of many that all are right half of the time
    assert abs(found.expected(None, 0.0).mean() - 0.5) < 0.05
    assert found.expected(0.99, 0.0).mean() == found.expected(None, 0.0).mean()


def test_a_share_is_reached_on_puzzles_that_did_not_choose() -> None:
    noise = np.random.default_rng(0).random((300, 400)) < 0.5
    sure = (np.arange(400) % 10 != 0)[None]
    cost = np.array([[1.0] * 400] * 300 + [[9.0] * 400])
    found = Candidates(np.vstack([noise, sure]), cost)
    lucky = found.chosen(0.55, 0.0)
    assert lucky is not None
    assert lucky < 300
    assert found.expected(0.55, 0.0).mean() < 0.55
    index, expected, met = found.reaching(0.55, 0.0)
    assert met
    assert index == 300
    assert expected.mean() >= 0.55


@pytest.mark.parametrize("exact", [0.56, 0.9])
def test_a_share_that_luck_alone_reaches_is_not_met(exact: float) -> None:
    noise = np.random.default_rng(0).random((300, 400)) < 0.5
    found = Candidates(noise, np.ones((300, 400)))
    index, expected, met = found.reaching(exact, 0.0)
    assert not met
    assert index == found.chosen(None, 0.0)
    assert expected.mean() < exact
    assert found.reaching(expected.mean(), 0.0)[2]
