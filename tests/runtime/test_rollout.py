"""What a step of the loop leaves out: checks of its own arrays, and events without an observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from trm_runtime import ContractMismatchError, StepOutput, initial_carry, solve
from trm_runtime.rollout import _SMALL, finite_rows
from trm_runtime.runner import trusted_step

Array = np.ndarray[Any, Any]
MakeRunner = Callable[..., Any]


def _floats(state: Array) -> list[Array]:
    """Logits, two scores and a state of a step."""
    return [state, np.zeros(len(state), np.float32), np.zeros(len(state), np.float32), state]


@pytest.mark.parametrize("width", [3, _SMALL + 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_with_one_bad_number_is_found(width: int, value: float) -> None:
    slots = np.array([0, 2])
    for bad, expected in ((0, [False, True]), (2, [True, False]), (1, None)):
        state = np.ones((3, 2, width), np.float32)
        state[bad, 1, -1] = value
        found = finite_rows(_floats(state), slots)
        assert expected == (None if found is None else found.tolist())
        scored = _floats(np.ones((3, 2, width), np.float32))
        scored[1][bad] = value
        found = finite_rows(scored, slots)
        assert expected == (None if found is None else found.tolist())


@pytest.mark.parametrize("width", [3, _SMALL + 1])
def test_large_numbers_are_finite_also_where_their_sum_is_not(width: int) -> None:
    state = np.full((2, 2, width), 3e38, np.float32)
    with np.errstate(all="raise"):
        assert finite_rows(_floats(state), np.arange(2)) is None


def test_the_step_of_the_loop_computes_what_the_checked_one_does(make_runner: MakeRunner) -> None:
    runner = make_runner(batch=2)
    inputs, carry = {"inputs": make_puzzles(2)}, initial_carry(runner.contract, 2)
    checked, trusted = runner.step(inputs, carry), trusted_step(runner)(inputs, carry)
    assert checked.tensors.keys() == trusted.tensors.keys()
    for name, array in checked.tensors.items():
        np.testing.assert_array_equal(array, trusted.tensors[name])


@pytest.mark.parametrize("batch", [None, 4])
def test_an_observer_changes_nothing(batch: int | None) -> None:
    puzzles = make_puzzles(23)
    events: list[Any] = []
    seen = solve(FakeRunner(make_contract(batch=batch)), puzzles, on_step=events.append)
    unseen = solve(FakeRunner(make_contract(batch=batch)), puzzles)
    np.testing.assert_array_equal(seen.answers, unseen.answers)
    np.testing.assert_array_equal(seen.steps, unseen.steps)
    assert seen.stop_reasons == unseen.stop_reasons
    assert sum(int(event.finished.sum()) for event in events) == len(puzzles)


@pytest.mark.parametrize("batch", [None, 4])
def test_an_observer_may_write_into_what_is_its_own(batch: int | None) -> None:
    def spoil(event: Any) -> None:
        for name in ("rows", "slots", "steps", "answers", "q_halt", "q_continue", "finished"):
            getattr(event, name)[...] = 0

    puzzles = make_puzzles(23)
    seen = solve(FakeRunner(make_contract(batch=batch)), puzzles, on_step=spoil, batch_size=4)
    unseen = solve(FakeRunner(make_contract(batch=batch)), puzzles, batch_size=4)
    np.testing.assert_array_equal(seen.answers, unseen.answers)
    np.testing.assert_array_equal(seen.steps, unseen.steps)
    assert seen.stop_reasons == unseen.stop_reasons


def test_a_step_of_fewer_rows_is_checked_for_them() -> None:
    class Padding(FakeRunner):
        """Always returns the rows of the first call."""

        def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
            output, rows = super().step(inputs, carry), self.batches[0]
            first = [
                {name: np.resize(array, (rows, *array.shape[1:])) for name, array in part.items()}
                for part in (output.carry, output.outputs)
            ]
            return StepOutput(*first)

    with pytest.raises(ContractMismatchError) as caught:
        solve(Padding(), make_puzzles(5))
    assert "output 'logits': expected shape (4, 4, 6), got (5, 4, 6)" in caught.value.problems
    assert len(caught.value.problems) == 8
