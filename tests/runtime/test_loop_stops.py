"""The loop: when and why a puzzle stops."""

from __future__ import annotations

from dataclasses import replace
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
    ContractMismatchError,
    HaltRule,
    StepEvent,
    StepOutput,
    UsageError,
    initial_carry,
    solve,
)

# --- when to stop --------------------------------------------------------------------------------


@pytest.mark.parametrize(("halt", "late"), [(0.0, 0), (0.5, 1), (1.0, 1), (2, 2), (-1.2, -1)])
def test_a_threshold_overrides_the_contract(
    make_runner: MakeRunner, halt: float, late: int
) -> None:
    puzzles = make_puzzles(12)
    solution = solve(make_runner(halt=HaltRule("q_halt", 99.0)), puzzles, halt=halt, batch_size=5)
    assert_solved(solution, puzzles, np.maximum(puzzles[:, 0] + late, 1))


def test_the_contracts_threshold_is_the_learned_rule(make_runner: MakeRunner) -> None:
    puzzles = make_puzzles(12)
    solution = solve(make_runner(halt=HaltRule("q_halt", 1.0)), puzzles)
    assert_solved(solution, puzzles, puzzles[:, 0] + 1)


def test_the_score_may_subtract_q_continue(make_runner: MakeRunner) -> None:
    puzzles = make_puzzles(12)
    runner = make_runner(halt=HaltRule("q_halt_minus_q_continue", 0.0))
    assert_solved(solve(runner, puzzles), puzzles, puzzles[:, 0] + 1)
    assert_solved(solve(runner, puzzles, halt=1.0), puzzles, puzzles[:, 0] + 2)


def test_fewer_steps_than_the_contract(make_runner: MakeRunner) -> None:
    puzzles = make_puzzles(12)
    solution = solve(make_runner(), puzzles, max_steps=3, batch_size=5)
    assert_solved(solution, puzzles, np.minimum(puzzles[:, 0], 3))
    wanted = tuple("halted" if goal <= 3 else "max_steps" for goal in puzzles[:, 0])
    assert solution.stop_reasons == wanted


@pytest.mark.parametrize("batch", [None, 4])
def test_a_deadline_leaves_the_latest_answers(
    monkeypatch: pytest.MonkeyPatch, batch: int | None
) -> None:
    runner = FakeRunner(make_contract(batch=batch))

    def clock() -> float:
        return 100.0 + len(runner.batches)  # a second a step

    monkeypatch.setattr("trm_runtime.loop.time.monotonic", clock)
    puzzles = make_puzzles(10)
    solution = solve(runner, puzzles, deadline=3, batch_size=4)
    assert len(runner.batches) == 3
    steps = np.array([1, 2, 3, 3, 2, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(solution.steps, steps)
    halted = steps == puzzles[:, 0]
    assert [r == "halted" for r in solution.stop_reasons] == halted.tolist()
    assert set(solution.stop_reasons) == {"halted", "deadline"}
    np.testing.assert_array_equal(solution.answers[:6], expected_answers(puzzles, steps)[:6])
    assert not solution.answers[6:].any()
    assert np.isnan(solution.q_halt[6:]).all()


@pytest.mark.parametrize("batch", [None, 4])
def test_every_puzzle_has_its_own_time(monkeypatch: pytest.MonkeyPatch, batch: int | None) -> None:
    runner = FakeRunner(make_contract(batch=batch))
    monkeypatch.setattr("time.monotonic", lambda: 100.0 + len(runner.batches))  # a second a step
    puzzles = make_puzzles(13)
    finished: list[Any] = []
    for seconds, steps in ((3, 3), (2.5, 3), (0.5, 1), (0, 1)):
        finished.clear()
        solution = solve(
            runner,
            puzzles,
            deadline_each=seconds,
            batch_size=4,
            on_step=lambda event: finished.extend(event.rows[event.finished]),
        )
        np.testing.assert_array_equal(solution.steps, np.minimum(puzzles[:, 0], steps))
        reasons = ["halted" if goal <= steps else "deadline" for goal in puzzles[:, 0]]
        assert list(solution.stop_reasons) == reasons
        np.testing.assert_array_equal(solution.answers, expected_answers(puzzles, solution.steps))
        assert sorted(finished) == list(range(13))
    both = solve(runner, puzzles, deadline=4, deadline_each=2, batch_size=4)
    assert both.stop_reasons.count("deadline") > 6
    assert both.steps.max() == 2
    assert both.steps[-1] == 0


def test_a_deadline_of_zero_runs_nothing() -> None:
    runner = FakeRunner()
    solution = solve(runner, make_puzzles(2), deadline=0)
    assert runner.batches == []
    assert solution.stop_reasons == ("deadline", "deadline")
    assert solution.steps.tolist() == [0, 0]


def test_a_far_deadline_changes_nothing(make_runner: MakeRunner) -> None:
    puzzles = make_puzzles(6)
    assert_solved(solve(make_runner(), puzzles, deadline=1e6), puzzles, puzzles[:, 0])


def test_on_step_may_cancel() -> None:
    calls: list[int] = []

    def twice(event: StepEvent) -> bool:
        calls.append(len(event.rows))
        return len(calls) < 2

    puzzles = make_puzzles(5)
    solution = solve(FakeRunner(), puzzles, on_step=twice)
    assert calls == [5, 4]
    np.testing.assert_array_equal(solution.steps, [1, 2, 2, 2, 2])
    assert solution.stop_reasons == ("halted", "halted", *["cancelled"] * 3)
    np.testing.assert_array_equal(solution.answers, expected_answers(puzzles, solution.steps))


def test_only_false_cancels() -> None:
    puzzles = make_puzzles(5)
    assert_solved(solve(FakeRunner(), puzzles, on_step=lambda _: 0), puzzles, puzzles[:, 0])


def test_ctrl_c_is_not_swallowed() -> None:
    def interrupt(event: StepEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(FakeRunner(), make_puzzles(5), on_step=interrupt)


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("tensor", ["logits", "q_halt_logits", "q_continue_logits", "z_H", "z_L"])
def test_a_nan_stops_its_row_at_its_step(
    tensor: str, step: int, batch: int | None, leaky: bool
) -> None:
    puzzles = make_puzzles(11)
    puzzles[:, 3] = np.arange(11) % 3 + 1
    puzzles[[2, 6], 3] = 5
    puzzles[[2, 6], 0] = 5
    runner = FakeRunner(make_contract(batch=batch), poison={5: (tensor, step)}, leaky=leaky)
    solution = solve(runner, puzzles, batch_size=3)
    good = puzzles[:, 3] != 5
    assert [r == "halted" for r in solution.stop_reasons] == good.tolist()
    assert {solution.stop_reasons[2], solution.stop_reasons[6]} == {"nonfinite"}
    np.testing.assert_array_equal(solution.steps, np.where(good, puzzles[:, 0], step))
    wanted = expected_answers(puzzles, np.where(good, puzzles[:, 0], step - 1))
    wanted[~good] *= step > 1  # nothing finite was seen: padding
    np.testing.assert_array_equal(solution.answers, wanted)
    assert np.isnan(solution.q_halt[~good]).all() == (step == 1)


def test_an_infinity_counts_too() -> None:
    class Infinite(FakeRunner):
        def step(self, inputs: Any, carry: Any) -> StepOutput:
            out = super().step(inputs, carry)
            return replace(
                out, outputs={**out.outputs, "logits": out.outputs["logits"] * np.float32(-np.inf)}
            )

    with np.errstate(invalid="ignore"):
        assert solve(Infinite(), make_puzzles(2)).stop_reasons == ("nonfinite",) * 2


def test_a_runner_that_breaks_its_contract_is_named() -> None:
    class Broken(FakeRunner):
        def step(self, inputs: Any, carry: Any) -> StepOutput:
            out = super().step(inputs, carry)
            nexts = {name: array for name, array in out.carry.items() if name != "z_L"}
            logits = out.outputs["logits"].astype(np.float16)[:, :2]
            return StepOutput(carry=nexts, outputs={**out.outputs, "logits": logits})

    with pytest.raises(ContractMismatchError) as caught:
        solve(Broken(), make_puzzles(3))
    assert caught.value.problems == (
        "output 'logits': expected dtype float32, got float16",
        "output 'logits': expected shape (3, 4, 6), got (3, 2, 6)",
        "next carry 'z_L': missing",
    )


@pytest.mark.parametrize("runner", [None, "s.onnx", 1.5])
def test_what_is_no_runner_is_refused(runner: Any) -> None:
    with pytest.raises(UsageError, match=r"^runner: expected one of open_runner\(path\), got "):
        solve(runner, make_puzzles(2))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_steps": MAX_STEPS + 1}, "max_steps: expected at most 8, after which this model"),
        ({"max_steps": 0}, "max_steps: expected 1 or more"),
        ({"max_steps": 2.5}, "max_steps: expected an integer"),
        (
            {"halt": "never"},
            "halt: expected 'learned', 'max_steps', 'settled', 'both' or a finite number",
        ),
        ({"halt": float("nan")}, "halt: expected"),
        ({"halt": True}, "halt: expected"),
        ({"halt": np.array([1.0, 2.0])}, "or a finite number, got array([1., 2.])"),
        ({"deadline": -1}, "deadline: expected seconds, 0 or more"),
        ({"deadline": float("nan")}, "deadline: expected seconds"),
        ({"deadline_each": -1}, "deadline_each: expected seconds, 0 or more"),
        ({"batch_size": 0}, "batch_size: expected 1 or more"),
        ({"batch_size": True}, "batch_size: expected an integer, got True"),
        ({"batch_size": "2"}, "batch_size: expected an integer, got '2'"),
        ({"deadline": "1"}, "deadline: expected seconds, 0 or more, got '1'"),
        ({"deadline": -(10**400)}, "deadline: expected seconds"),
        ({"on_step": 5}, "on_step: expected a function, got 5"),
        ({"halt": 10**5000}, "or a finite number, got an integer of many digits"),
    ],
)
def test_bad_options(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        solve(FakeRunner(), make_puzzles(2), **options)
    assert complaint in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"halt": np.float32(1)}, {"halt": 1.0}),
        ({"halt": "both", "settled": np.float32(0.5)}, {"halt": "both", "settled": 0.5}),
        ({"max_steps": np.uint8(2), "batch_size": np.int64(3)}, {"max_steps": 2, "batch_size": 3}),
        ({"deadline": np.float32(1e3), "deadline_each": np.int64(1000)}, {}),
        ({"deadline": 10**400, "deadline_each": 10**400}, {}),
        (
            {"tries": np.uint8(3), "vary": "noise", "seed": np.int64(7), "sigma": np.float64(0.5)},
            {"tries": 3, "vary": "noise", "seed": 7, "sigma": 0.5},
        ),
    ],
)
def test_numbers_of_numpy(given: dict[str, Any], same: dict[str, Any]) -> None:
    found, expected = (solve(FakeRunner(), make_puzzles(5), **one) for one in (given, same))
    assert found.to_json() == expected.to_json()


@pytest.mark.parametrize("batch", [-1, 1.5, True, None])
def test_a_carry_of_no_number_of_rows(batch: Any) -> None:
    with pytest.raises(UsageError, match=f"^batch: expected an integer, 0 or more, got {batch}"):
        initial_carry(make_contract(), batch)


def test_a_carry_is_of_a_contract() -> None:
    with pytest.raises(UsageError, match=r"^contract: expected that of a runner, got "):
        initial_carry(FakeRunner(), 2)  # type: ignore[arg-type]


def test_a_fixed_batch_cannot_be_changed() -> None:
    runner = FakeRunner(make_contract(batch=4))
    with pytest.raises(UsageError, match="batch_size: expected 4, the fixed batch of this model"):
        solve(runner, make_puzzles(2), batch_size=2)
    assert len(solve(runner, make_puzzles(2), batch_size=4)) == 2
