"""Settling: how far states move in a step, and the two halt rules that know it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import MAX_STEPS, FakeRunner, make_contract, make_puzzles
from tests.runtime.test_loop_graph import FakeLoop
from trm_runtime import HaltRule, StepContract, StepEvent, StepOutput, UsageError, solve
from trm_runtime.settling import moved

Array = np.ndarray[Any, Any]


class Moving:
    """The toy model with a second state that grows up to a step of each puzzle, and then rests."""

    def __init__(self, **fields: Any) -> None:
        self._inner = FakeRunner(make_contract(**fields))
        self.contract: StepContract = self._inner.contract

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        """One step of the toy model; the state is 40 times the lower of two numbers of steps."""
        output = self._inner.step(inputs, carry)
        last = output.carry["current_inputs"][:, 1] + 1
        grown = 40 * np.minimum(output.carry["steps"], last).astype(np.float32)
        state = np.broadcast_to(grown[:, None, None], carry["z_L"].shape).copy()
        return StepOutput({**output.carry, "z_L": state}, output.outputs)


def expected(puzzles: Array, step: int) -> Array:
    """(N,) float32: the movement of the toy model in that step, by the formula, row by row."""
    found = []
    for rest in (puzzles[:, 1] + 1).tolist():
        if step == 1:
            found.append(np.inf)
            continue
        before = np.array([step - 1.0] * 12 + [40.0 * min(step - 1, rest)] * 12)
        after = np.array([step] * 12 + [40.0 * min(step, rest)] * 12)
        found.append(np.sqrt(np.sum((after - before) ** 2)) / np.sqrt(np.sum(after**2)))
    return np.array(found, dtype=np.float32)


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"batch": 4}])
def test_every_step_is_measured_as_the_formula_says(options: dict[str, Any]) -> None:
    puzzles = make_puzzles(11)
    seen: dict[tuple[int, int], Any] = {}
    runner = Moving(**{key: options.pop(key) for key in ("batch",) if key in options})

    def look(event: StepEvent) -> None:
        assert event.moved is not None
        for row, step, change in zip(event.rows, event.steps, event.moved, strict=True):
            seen[int(row), int(step)] = change

    solution = solve(runner, puzzles, halt="max_steps", settled=0.5, on_step=look, **options)
    for step in range(1, MAX_STEPS + 1):
        got = np.array([seen[row, step] for row in range(11)], np.float32)
        np.testing.assert_array_equal(got, expected(puzzles, step))
    assert solution.moved is not None
    assert solution.moved.dtype == np.float32
    np.testing.assert_array_equal(solution.moved, expected(puzzles, MAX_STEPS))


def first_step(puzzles: Array, wanted: Any) -> Array:
    """(N,) the first step at which that is true of a movement and a step, else the last."""
    steps = np.full(len(puzzles), MAX_STEPS)
    for step in range(MAX_STEPS, 0, -1):
        steps[wanted(expected(puzzles, step), step)] = step
    return steps


@pytest.mark.parametrize("given", [None, 0.02])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_puzzle_halts_when_settled(batch_size: int | None, given: float | None) -> None:
    puzzles = make_puzzles(20)
    runner = Moving(halt=HaltRule("q_halt", -99.0, settled=0.02 if given is None else 9.0))
    solution = solve(runner, puzzles, halt="settled", settled=given, batch_size=batch_size)
    steps = first_step(puzzles, lambda change, _: change < 0.02)
    assert 2 < steps.min() < steps.max() < MAX_STEPS
    np.testing.assert_array_equal(solution.steps, steps)
    assert set(solution.stop_reasons) == {"halted"}


def test_both_demands_the_score_as_well() -> None:
    puzzles = make_puzzles(20)
    runner = Moving(halt=HaltRule("q_halt", 2.0, settled=0.02))
    solution = solve(runner, puzzles, halt="both")
    sure = puzzles[:, 0] + 1.5  # the score is the step - first cell + 0.5, the threshold 2
    steps = first_step(puzzles, lambda change, step: (change < 0.02) & (step > sure))
    np.testing.assert_array_equal(solution.steps, steps)
    assert (solution.steps > solve(runner, puzzles, halt="settled").steps).any()
    assert (solution.steps > solve(runner, puzzles).steps).any()


def test_a_movement_equal_to_the_threshold_has_not_settled() -> None:
    puzzles = make_puzzles(5)
    change = float(expected(puzzles, 4)[0])
    steps = solve(Moving(), puzzles, halt="settled", settled=change).steps
    assert steps[0] > 4
    above = float(np.nextafter(np.float32(change), np.float32(1)))
    assert solve(Moving(), puzzles, halt="settled", settled=above).steps[0] == 4


def test_nothing_is_measured_unless_asked() -> None:
    seen: list[StepEvent] = []
    solution = solve(Moving(), make_puzzles(3), on_step=seen.append)
    assert solution.moved is None
    assert all(event.moved is None for event in seen)


def test_states_of_zero_have_not_settled() -> None:
    contract = make_contract()
    zero = {name: np.zeros((2, 4, 3), np.float32) for name in ("z_H", "z_L")}
    before = {**zero, "halted": np.array([False, False])}
    assert np.isposinf(moved(contract, before, zero)).all()


def test_several_tries_settle_each_for_itself() -> None:
    puzzles = make_puzzles(6)
    runner = Moving(halt=HaltRule("q_halt", 99.0, settled=0.02))
    solution = solve(runner, puzzles, halt="settled", tries=3, vary="noise", sigma=0.001)
    assert solution.moved is not None
    assert (solution.moved < np.float32(0.02)).all()
    assert solution.tries is not None
    assert (solution.tries == 3).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"halt": "settled"}, "no threshold for how far its states move"),
        ({"halt": "both"}, "`trm-export tune --settled`"),
        ({"settled": 0}, "settled: expected a finite number above 0, got 0"),
        ({"settled": float("nan")}, "settled: expected a finite number above 0"),
        ({"settled": True}, "settled: expected a finite number above 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        solve(Moving(), make_puzzles(2), **options)


def test_a_loop_has_no_states_to_measure() -> None:
    for options in ({"halt": "settled", "settled": 0.1}, {"settled": 0.1}):
        with pytest.raises(UsageError, match="no float32 states"):
            solve(FakeLoop(), make_puzzles(2), **options)


def test_the_threshold_survives_another_tuning_and_is_no_part_of_the_model() -> None:
    rule = HaltRule("q_halt", 3.0, settled=0.1)
    assert rule.tuned(1.0) == HaltRule("q_halt", 1.0, trained=3.0, settled=0.1)
    assert rule.tuned(1.0).untuned == HaltRule("q_halt", 3.0)
    contract = make_contract(halt=rule)
    assert StepContract.from_json(contract.to_json()) == contract
    plain = dataclasses.replace(contract, halt=HaltRule("q_halt", 3.0))
    assert "settled" not in plain.to_json()
