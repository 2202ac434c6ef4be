"""The loop: latching, refilling, dropping, and what it hands out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.runtime.conftest import MakeRunner
from tests.runtime.fakes import (
    MAX_STEPS,
    FakeRunner,
    assert_solved,
    expected_answers,
    make_contract,
    make_puzzles,
)
from trm_runtime import (
    HaltRule,
    RejectedInputError,
    StepEvent,
    StepOutput,
    initial_carry,
    solve,
)

# --- latching, refilling, dropping ---------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 23])
@pytest.mark.parametrize("batch_size", [None, 1, 4, 64])
def test_answers_are_latched_with_a_free_batch(
    make_runner: MakeRunner, count: int, batch_size: int | None
) -> None:
    puzzles = make_puzzles(count)
    solution = solve(make_runner(), puzzles, batch_size=batch_size)
    assert_solved(solution, puzzles, puzzles[:, 0])
    assert set(solution.stop_reasons) == {"halted"}
    assert len(solution) == count


@pytest.mark.parametrize("count", [1, 3, 4, 7, 23])
def test_answers_are_latched_with_a_fixed_batch(make_runner: MakeRunner, count: int) -> None:
    puzzles = make_puzzles(count)
    assert_solved(solve(make_runner(batch=4), puzzles), puzzles, puzzles[:, 0])


@pytest.mark.parametrize("batch", [None, 4])
def test_a_row_is_not_restarted_by_the_graphs_own_flag(batch: int | None) -> None:
    runner = FakeRunner(make_contract(batch=batch), always_halted=True)
    puzzles = make_puzzles(9)
    assert_solved(solve(runner, puzzles), puzzles, puzzles[:, 0])


@pytest.mark.parametrize("batch", [None, 4])
def test_a_tuned_threshold_decides_whatever_the_graph_says(batch: int | None) -> None:
    rule = HaltRule("q_halt", 1.0, trained=-99.0)
    runner = FakeRunner(make_contract(batch=batch, halt=rule), always_halted=True)
    puzzles = make_puzzles(9)
    assert_solved(solve(runner, puzzles), puzzles, puzzles[:, 0] + 1)


def test_a_row_that_ran_all_steps_is_latched_before_the_graph_restarts_it(
    make_runner: MakeRunner,
) -> None:
    puzzles = make_puzzles(9)
    solution = solve(make_runner(), puzzles, halt="max_steps", batch_size=2)
    assert_solved(solution, puzzles, MAX_STEPS)
    assert set(solution.stop_reasons) == {"max_steps"}


def test_slots_are_refilled_and_each_puzzle_starts_once() -> None:
    runner = FakeRunner()
    puzzles = make_puzzles(23)
    solve(runner, puzzles, batch_size=4)
    assert runner.resets == 23
    assert sum(runner.batches) == puzzles[:, 0].sum()  # no row was stepped in vain
    assert runner.batches[:10] == [4] * 10


def test_finished_rows_leave_a_free_batch() -> None:
    runner = FakeRunner()
    solve(runner, make_puzzles(5))
    assert runner.batches == [5, 4, 3, 2, 1]


def test_a_fixed_batch_stays_whole() -> None:
    runner = FakeRunner(make_contract(batch=4))
    puzzles = make_puzzles(5)
    solve(runner, puzzles)
    assert set(runner.batches) == {4}
    idle = sum(runner.batches) - puzzles[:, 0].sum()
    assert runner.resets == 5 + idle  # an idle slot starts anew each time, so it stays harmless


@pytest.mark.parametrize(("count", "slots"), [(3, 3), (100, 64)])
def test_the_default_batch(count: int, slots: int) -> None:
    runner = FakeRunner()
    solve(runner, make_puzzles(count))
    assert runner.batches[0] == slots


def test_results_do_not_depend_on_order_or_batch() -> None:
    puzzles = make_puzzles(40, seed=3)
    order = np.random.default_rng(1).permutation(40)
    straight = solve(FakeRunner(), puzzles)
    for runner, size in ((FakeRunner(), 7), (FakeRunner(make_contract(batch=6)), None)):
        shuffled = solve(runner, puzzles[order], batch_size=size)
        np.testing.assert_array_equal(shuffled.answers, straight.answers[order])
        np.testing.assert_array_equal(shuffled.steps, straight.steps[order])
        np.testing.assert_array_equal(shuffled.q_halt, straight.q_halt[order])


@pytest.mark.parametrize("batch", [None, 4])
def test_no_puzzles(batch: int | None) -> None:
    runner = FakeRunner(make_contract(batch=batch))
    solution = solve(runner, np.zeros((0, 4), np.int32))
    assert (len(solution), solution.answers.shape, runner.batches) == (0, (0, 4), [])
    assert solution.mean_steps == 0.0


def test_many_puzzles_keep_the_logits_of_one_step_only() -> None:
    runner = FakeRunner()

    def count_alive(event: StepEvent) -> None:
        assert sum(logits() is not None for logits in runner.logits_seen[-4:]) <= 2

    puzzles = make_puzzles(3000)
    assert_solved(solve(runner, puzzles, on_step=count_alive), puzzles, puzzles[:, 0])


# --- the borders ---------------------------------------------------------------------------------


def test_the_initial_carry_is_the_contracts() -> None:
    carry = initial_carry(make_contract(), 2)
    assert {name: (array.shape, array.dtype.name) for name, array in carry.items()} == {
        "z_H": ((2, 4, 3), "float32"),
        "z_L": ((2, 4, 3), "float32"),
        "steps": ((2,), "int32"),
        "halted": ((2,), "bool"),
        "current_inputs": ((2, 4), "int32"),
    }
    assert carry["halted"].all()
    assert not any(carry[name].any() for name in carry if name != "halted")


def test_events_tell_what_happened() -> None:
    events: list[StepEvent] = []
    puzzles = make_puzzles(4)
    solve(FakeRunner(), puzzles, batch_size=2, on_step=events.append)
    assert [event.rows.tolist() for event in events] == [
        [0, 1], [2, 1], [2, 3], [2, 3], [3], [3],
    ]  # fmt: skip
    assert [event.steps.tolist() for event in events] == [
        [1, 1], [1, 2], [2, 1], [3, 2], [3], [4],
    ]  # fmt: skip
    assert [event.finished.tolist() for event in events[:3]] == [
        [True, False], [False, True], [False, False],
    ]  # fmt: skip
    for event in events:
        wanted = expected_answers(puzzles[event.rows], event.steps)
        np.testing.assert_array_equal(event.answers, wanted)
        logits = event.outputs["logits"][event.slots]
        np.testing.assert_array_equal(logits.argmax(-1), wanted)
        np.testing.assert_array_equal(event.carry["steps"][event.slots], event.steps)


def test_events_leave_idle_slots_out() -> None:
    events: list[StepEvent] = []
    solve(FakeRunner(make_contract(batch=4)), make_puzzles(2), on_step=events.append)
    assert [event.slots.tolist() for event in events] == [[0, 1], [1]]
    assert events[0].outputs["logits"].shape[0] == 4


def test_inputs_may_be_a_mapping(make_runner: MakeRunner) -> None:
    puzzles = make_puzzles(3)
    assert_solved(solve(make_runner(), {"inputs": puzzles}), puzzles, puzzles[:, 0])


class Identified:
    """A runner that takes puzzle identifiers and remembers them."""

    def __init__(self) -> None:
        self.contract = make_contract(num_puzzle_identifiers=9)
        self.toy, self.seen = FakeRunner(), np.zeros(0)

    def step(self, inputs: Any, carry: Any) -> StepOutput:
        self.seen = inputs["puzzle_identifiers"]
        rest = {name: carry[name] for name in carry if name != "current_puzzle_identifiers"}
        out = self.toy.step({"inputs": inputs["inputs"]}, rest)
        nexts = {**out.carry, "current_puzzle_identifiers": self.seen}
        return StepOutput(carry=nexts, outputs=out.outputs)


def test_identifiers_reach_the_step() -> None:
    runner, puzzles = Identified(), make_puzzles(3)
    solve(runner, {"inputs": puzzles, "puzzle_identifiers": [3, 8, 5]}, batch_size=1)
    assert runner.seen.tolist() == [5]
    solve(runner, puzzles)
    assert runner.seen.tolist() == [0]
    solve(runner, {"inputs": ["1234"], "puzzle_identifiers": [2]})
    assert runner.seen.tolist() == [2]
    solve(runner, "1234")
    assert runner.seen.tolist() == [0]
    with pytest.raises(RejectedInputError, match=r"row 1: id 9 is not in 0\.\.8"):
        solve(runner, {"inputs": puzzles, "puzzle_identifiers": [3, 9, 5]})


def test_a_solution_becomes_json() -> None:
    runner = FakeRunner(poison={5: ("logits", 1)})
    value = json.loads(solve(runner, np.array([[1, 1, 1, 1], [1, 1, 1, 5]])).to_json())
    assert value == {
        "answers": [[2, 2, 2, 2], [0, 0, 0, 0]],
        "steps": [1, 1],
        "q_halt": [0.5, None],
        "q_continue": [1.0, None],
        "stop_reasons": ["halted", "nonfinite"],
    }
