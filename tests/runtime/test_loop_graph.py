"""Solving with a graph that holds the whole ACT loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import (
    MAX_STEPS,
    Q_CONTINUE,
    SEQ,
    VOCAB,
    assert_solved,
    expected_answers,
    make_contract,
    make_puzzles,
)
from trm_runtime import (
    ContractMismatchError,
    HaltRule,
    RejectedInputError,
    StepContract,
    StepEvent,
    StepOutput,
    TensorSpec,
    UsageError,
    solve,
)
from trm_runtime.checks import check_step_call


def loop_contract(batch: int | None = None, **fields: Any) -> StepContract:
    answers = TensorSpec("answers", "int32", (batch, SEQ))
    steps = TensorSpec("steps", "int32", (batch,))
    outputs = (answers, steps, *make_contract(batch=batch).outputs)
    return make_contract(batch=batch, granularity="loop", carry=(), outputs=outputs, **fields)


@dataclass
class FakeLoop:
    """The toy model's whole loop: each puzzle stops at the step that its first cell says.

    A puzzle whose last cell is in `poison` has that output NaN from the start, so it never halts.
    """

    contract: StepContract = field(default_factory=loop_contract)
    poison: Mapping[int, str] = field(default_factory=dict)
    fed: list[list[int]] = field(default_factory=list)  # the second cells of each call

    def step(self, inputs: Any, carry: Any) -> StepOutput:
        tokens = check_step_call(self.contract, inputs, carry)["inputs"]
        self.fed.append(tokens[:, 1].tolist())
        late = np.ceil(self.contract.halt.threshold - 0.5 + 1e-6).astype(np.int32)
        bad = np.isin(tokens[:, -1], list(self.poison))
        steps = np.where(bad, MAX_STEPS, np.clip(tokens[:, 0] + late, 1, MAX_STEPS))
        answers = expected_answers(tokens, steps)
        outputs = {
            "answers": answers.astype(np.int32),
            "steps": steps.astype(np.int32),
            "logits": np.eye(VOCAB, dtype=np.float32)[answers],
            "q_halt_logits": (steps - tokens[:, 0] + 0.5).astype(np.float32),
            "q_continue_logits": np.full(len(tokens), Q_CONTINUE, np.float32),
        }
        for cell, name in self.poison.items():
            outputs[name][tokens[:, -1] == cell] = np.nan
        return StepOutput({}, outputs)


def numbered(count: int) -> np.ndarray:
    """Puzzles whose second cell tells them apart, modulo the ids that do not pad."""
    puzzles = make_puzzles(count)
    puzzles[:, 1] = 1 + np.arange(count) % (VOCAB - 1)
    return puzzles


@pytest.mark.parametrize("count", [1, 5, 23, 100])
@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_a_free_batch_holds_no_padding(count: int, batch_size: int | None) -> None:
    loop, puzzles = FakeLoop(), numbered(count)
    solution = solve(loop, puzzles, batch_size=batch_size)
    assert_solved(solution, puzzles, puzzles[:, 0])
    assert set(solution.stop_reasons) == {"halted"}
    assert max(map(len, loop.fed)) == min(count, batch_size or 64)
    assert [cell for call in loop.fed for cell in call] == puzzles[:, 1].tolist()


@pytest.mark.parametrize("count", [1, 3, 4, 7, 23])
def test_a_fixed_batch_is_filled_with_rows_that_do_not_count(count: int) -> None:
    loop, puzzles = FakeLoop(loop_contract(batch=4)), numbered(count)
    solution = solve(loop, puzzles)
    assert_solved(solution, puzzles, puzzles[:, 0])
    assert len(solution) == count
    assert {len(call) for call in loop.fed} == {4}


@pytest.mark.parametrize("batch", [None, 4])
def test_no_puzzles(batch: int | None) -> None:
    loop = FakeLoop(loop_contract(batch=batch))
    solution = solve(loop, np.zeros((0, 4), np.int32))
    assert (len(solution), solution.answers.shape, loop.fed) == (0, (0, 4), [])


def test_a_puzzle_that_ran_out_of_steps_says_so() -> None:
    puzzles = make_puzzles(10)
    loop = FakeLoop(loop_contract(halt=HaltRule("q_halt", 4.0)))
    solution = solve(loop, puzzles)
    steps = np.minimum(puzzles[:, 0] + 4, MAX_STEPS)
    assert_solved(solution, puzzles, steps)
    late = (steps == MAX_STEPS) & (solution.q_halt <= 4)
    assert [reason == "max_steps" for reason in solution.stop_reasons] == late.tolist()
    assert set(solution.stop_reasons) == {"halted", "max_steps"}


def test_each_call_is_one_event() -> None:
    events: list[StepEvent] = []
    puzzles = make_puzzles(6)
    solve(FakeLoop(loop_contract(batch=4)), puzzles, on_step=events.append)
    assert [event.rows.tolist() for event in events] == [[0, 1, 2, 3], [4, 5]]
    for event in events:
        np.testing.assert_array_equal(event.steps, puzzles[event.rows, 0])
        answers = event.outputs["answers"][event.slots]
        np.testing.assert_array_equal(event.answers, answers)
        assert event.finished.all()
        assert event.carry == {}
    assert len(events[1].outputs["answers"]) == 4


@pytest.mark.parametrize("batch", [None, 2])
def test_a_deadline_is_looked_at_between_calls(
    monkeypatch: pytest.MonkeyPatch, batch: int | None
) -> None:
    loop = FakeLoop(loop_contract(batch=batch))
    monkeypatch.setattr("trm_runtime.loop.time.monotonic", lambda: 100.0 + len(loop.fed))
    puzzles = make_puzzles(7)
    solution = solve(loop, puzzles, deadline=2, batch_size=2)
    assert len(loop.fed) == 2
    assert solution.stop_reasons == (*["halted"] * 4, *["deadline"] * 3)
    np.testing.assert_array_equal(solution.steps, [1, 2, 3, 4, 0, 0, 0])
    np.testing.assert_array_equal(
        solution.answers[:4], expected_answers(puzzles, solution.steps)[:4]
    )
    assert not solution.answers[4:].any()
    assert np.isnan(solution.q_halt[4:]).all()


def test_on_step_may_cancel() -> None:
    puzzles = make_puzzles(7)
    solution = solve(FakeLoop(), puzzles, batch_size=3, on_step=lambda event: 5 in event.steps - 1)
    assert solution.stop_reasons == (*["halted"] * 3, *["cancelled"] * 4)
    np.testing.assert_array_equal(solution.steps, [1, 2, 3, 0, 0, 0, 0])
    done = solve(FakeLoop(), puzzles[:3], batch_size=3, on_step=lambda _: False)
    assert done.stop_reasons == ("halted",) * 3


@pytest.mark.parametrize("tensor", ["logits", "q_halt_logits", "q_continue_logits"])
@pytest.mark.parametrize("batch", [None, 4])
def test_a_nan_is_trapped_and_stays_in_its_row(tensor: str, batch: int | None) -> None:
    puzzles = make_puzzles(6)
    puzzles[:, 3] = np.arange(6) % 3 + 1
    puzzles[[1, 4], 3] = 5
    loop = FakeLoop(loop_contract(batch=batch), poison={5: tensor})
    solution = solve(loop, puzzles)
    good = puzzles[:, 3] != 5
    assert [reason == "halted" for reason in solution.stop_reasons] == good.tolist()
    assert {solution.stop_reasons[1], solution.stop_reasons[4]} == {"nonfinite"}
    np.testing.assert_array_equal(solution.steps, np.where(good, puzzles[:, 0], MAX_STEPS))
    wanted = expected_answers(puzzles, puzzles[:, 0])
    np.testing.assert_array_equal(solution.answers, wanted * good[:, None])  # padding, no answer
    np.testing.assert_array_equal(np.isnan(solution.q_halt), ~good)
    np.testing.assert_array_equal(np.isnan(solution.q_continue), ~good)


@pytest.mark.parametrize(
    "options", [{"halt": "max_steps"}, {"halt": 0.0}, {"max_steps": MAX_STEPS - 1}]
)
def test_it_halts_by_its_own_rule_only(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        solve(FakeLoop(), make_puzzles(2), **options)
    assert str(caught.value) == (
        "This model contains the complete loop and halts by its own rule (threshold 0, at most 8 "
        "steps); drop halt and max_steps, or export it with granularity step."
    )


def test_its_own_number_of_steps_may_be_said() -> None:
    puzzles = make_puzzles(2)
    solution = solve(FakeLoop(), puzzles, halt="learned", max_steps=MAX_STEPS)
    assert_solved(solution, puzzles, puzzles[:, 0])


def test_bad_puzzles_never_reach_it() -> None:
    loop = FakeLoop()
    with pytest.raises(RejectedInputError, match=r"id 6 is not in 0\.\.5"):
        solve(loop, np.full((2, 4), 6))
    assert loop.fed == []


def test_a_loop_that_breaks_its_contract_is_named() -> None:
    class Broken(FakeLoop):
        def step(self, inputs: Any, carry: Any) -> StepOutput:
            outputs = super().step(inputs, carry).outputs
            return StepOutput({}, {**outputs, "steps": outputs["steps"].astype(np.int64)})

    with pytest.raises(ContractMismatchError, match="'steps': expected dtype int32, got int64"):
        solve(Broken(), make_puzzles(2))
