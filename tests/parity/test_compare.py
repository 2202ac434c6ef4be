"""The ladder on runners whose every difference is known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.parity.fakes import Alter, AlteredRunner, Tensors, toy_puzzles
from tests.runtime.fakes import ALPHABET, MAX_STEPS, FakeRunner, make_contract
from trm_export.errors import RejectedInputError, UsageError
from trm_export.parity.hops import cost_text, hops
from trm_export.parity.weights_report import WeightsReport
from trm_runtime import HaltRule, StepContract
from trm_runtime.check_command import text
from trm_runtime.json_values import plain
from trm_runtime.parity import Gates, ParityResult, Rung, compare
from trm_runtime.parity.result import FAILED, OK

RUNGS = [
    "names",
    "dtypes",
    "shapes",
    "forced values",
    "free drift",
    "answers",
    "halting steps",
    "task accuracy",
]


def judged(alter: Alter, *, unsettled: tuple[int, ...] = (), **changes: Any) -> ParityResult:
    """The toy model against itself, altered, without forced gates unless asked for."""
    gates = Gates(**{"answers": 1.0, "halting_steps": 1.0, "near_ties_excused": True, **changes})
    return compare(FakeRunner(), AlteredRunner(alter), toy_puzzles(12, unsettled), gates=gates)


def statuses(result: ParityResult) -> list[str]:
    return [rung.status for rung in result.rungs]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_runner_equals_itself(batch_size: int) -> None:
    result = compare(FakeRunner(), FakeRunner(), toy_puzzles(), batch_size=batch_size)
    assert result
    assert [rung.name for rung in result.rungs] == RUNGS
    assert statuses(result) == ["ok"] * 4 + ["reported"] + ["ok"] * 3
    assert result.forced_error == 0
    assert result.decisions is not None
    assert (result.decisions.settled, result.decisions.differences) == (12, ())
    assert result.accuracy is not None
    assert (result.accuracy.reference.exact, result.accuracy.p_value) == (1.0, 1.0)
    assert len(result.forced) == MAX_STEPS * 8
    assert [step.cells_equal for step in result.free] == [1.0] * MAX_STEPS
    assert "PASSED on 12 puzzles. " in result.verdict


def test_a_tuned_file_is_compared_by_the_models_own_threshold() -> None:
    tuned = FakeRunner(make_contract(halt=HaltRule("q_halt", 1.0, trained=0.0)))
    unlabelled = replace(toy_puzzles(), labels=None)
    result = compare(FakeRunner(), tuned, unlabelled)
    assert result, result.verdict
    assert statuses(result)[4:7] == ["reported"] * 3
    assert result.decisions is not None
    assert result.decisions.candidate_mean_steps == result.decisions.mean_steps + 1
    other = FakeRunner(make_contract(halt=HaltRule("q_halt", 1.0, trained=0.5)))
    broken = compare(FakeRunner(), other, unlabelled).broken
    assert broken is not None
    assert broken.summary == "halt rule, threshold: expected 0.0, got 0.5"


def test_a_tuned_file_that_answers_fewer_puzzles_fails() -> None:
    tuned = FakeRunner(make_contract(halt=HaltRule("q_halt", 1.0, trained=0.0)))
    result = compare(FakeRunner(), tuned, toy_puzzles())
    assert result.broken is not None
    assert result.broken.name == "task accuracy"


def test_either_side_may_have_a_fixed_batch() -> None:
    fixed = FakeRunner(make_contract(batch=5))
    assert compare(FakeRunner(), fixed, toy_puzzles(7))
    assert compare(fixed, FakeRunner(), toy_puzzles(7))
    assert set(fixed.batches) == {5}
    result = compare(FakeRunner(make_contract(batch=4)), fixed, toy_puzzles(7))
    assert result.broken is not None
    assert result.broken.name == "shapes"


def test_one_puzzle_without_a_label() -> None:
    puzzles = replace(toy_puzzles(1), labels=None)
    result = compare(FakeRunner(), FakeRunner(), puzzles)
    assert result
    assert result.accuracy is None
    assert result.rungs[-1].status == "not judged"
    assert result.decisions is not None
    assert result.decisions.settled == 1


def test_progress_counts_to_its_total() -> None:
    calls: list[tuple[int, int]] = []
    compare(
        FakeRunner(),
        FakeRunner(),
        toy_puzzles(),
        batch_size=6,
        progress=lambda done, total: calls.append((done, total)),
    )
    totals = {total for _, total in calls}
    assert totals == {12 + MAX_STEPS * (2 * 12 + 6)}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == calls[-1][1]


CONTRACTS: list[tuple[str, StepContract, str]] = [
    ("names", replace(make_contract(), halt=HaltRule("q_halt", 0.5)), "halt rule, threshold"),
    (
        "names",
        replace(make_contract(), halt=HaltRule("q_halt_minus_q_continue")),
        "halt rule, kind",
    ),
    ("names", replace(make_contract(), max_steps=9), "max_steps: expected 8, got 9"),
    (
        "names",
        replace(make_contract(), alphabet=("", ".0_", "1", "2", "4", "3")),
        "alphabet, token 4: expected '3', got '4'",
    ),
    ("names", make_contract(num_puzzle_identifiers=2), "puzzle_identifiers: not in the reference"),
    ("shapes", make_contract(vocab=7, alphabet=(*ALPHABET, "5")), "logits"),
]


@pytest.mark.parametrize(("rung", "contract", "text"), CONTRACTS)
def test_contracts_that_differ(rung: str, contract: StepContract, text: str) -> None:
    if rung == "shapes":
        contract = replace(contract, alphabet=None)
        reference = FakeRunner(replace(make_contract(), alphabet=None))
    else:
        reference = FakeRunner()
    result = compare(reference, FakeRunner(contract), toy_puzzles())
    assert not result
    assert result.broken is not None
    assert result.broken.name == rung
    assert any(text in problem for problem in result.broken.problems)
    assert result.rungs[-1].status == "not judged"
    assert reference.batches == []


def test_a_file_of_another_model_is_called_so_whatever_the_puzzles_are() -> None:
    contract = make_contract(vocab=7)
    other = replace(contract, made_by=replace(contract.made_by, weights_sha256="1" * 64))
    puzzles = replace(toy_puzzles(), inputs=np.full((2, 9), 99, np.int32))
    result = compare(FakeRunner(), FakeRunner(other), puzzles)
    assert result.broken is not None
    assert result.broken.name == "names"
    assert result.broken.problems[0] == "the file is of another model: vocab_size 7 instead of 6"
    assert result.broken.problems[1].endswith(f"got {'1' * 64}")
    assert "of another model: vocab_size 7 instead of 6, and" in result.verdict


def test_a_fill_is_part_of_the_carry() -> None:
    contract = make_contract()
    carry = tuple(replace(s, fill=1.0) if s.name == "z_L" else s for s in contract.carry)
    result = compare(FakeRunner(), FakeRunner(replace(contract, carry=carry)), toy_puzzles())
    assert result.broken is not None
    assert result.broken.problems == ("z_L: expected fill 0.0, got 1.0",)


def test_the_first_divergence_is_named() -> None:
    def alter(before: Tensors, after: Tensors) -> None:
        after["z_L"][after["steps"] == 3, 2, 1] += 1
        after["z_H"][after["steps"] == 5] += 1

    result = compare(FakeRunner(), AlteredRunner(alter), toy_puzzles())
    assert result.broken is not None
    assert result.broken.name == "forced values"
    first = result.first_divergence
    assert first is not None
    assert first.worst is not None
    # a refilled slot reaches its third step at other steps, never before the third
    assert (first.step, first.tensor, first.worst.position) == (3, "z_L", (2, 1))
    assert first.worst.got == first.worst.expected + 1
    assert statuses(result)[4:] == ["not judged"] * 4
    assert {p.split(":")[0].split(", ")[1] for p in result.broken.problems} == {"z_L", "z_H"}


def test_a_wrong_counter_is_blamed_before_the_states_it_spoils() -> None:
    def alter(before: Tensors, after: Tensors) -> None:
        after["current_inputs"][:] = before["inputs"]
        after["z_H"] += 1

    first = compare(FakeRunner(), AlteredRunner(alter), toy_puzzles()).first_divergence
    assert first is not None
    assert (first.step, first.tensor) == (1, "z_H")  # at step 1 the puzzle is right
    assert "current_inputs" in {
        error.tensor
        for error in compare(FakeRunner(), AlteredRunner(alter), toy_puzzles()).forced
        if error.unequal and error.step == 2
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_fail_without_any_gate(value: float) -> None:
    def alter(before: Tensors, after: Tensors) -> None:
        after["logits"][(after["steps"] == 8) & (after["current_inputs"][:, 0] == 2), 0, 0] = value

    result = judged(alter)
    assert result.broken is not None
    assert result.broken.name == "forced values"
    assert "NaN or infinite" in result.broken.summary
    assert result.forced_error == np.inf
    assert result.free[-1].tensors["logits"].all.relative_l2 == np.inf
    json.dumps(plain(result.to_json()), allow_nan=False)


def test_a_puzzle_that_ends_in_nan_has_no_answer_and_no_halting_step() -> None:
    def alter(before: Tensors, after: Tensors) -> None:
        after["q_halt_logits"][:] = np.nan

    found = judged(alter).decisions
    assert found is not None
    assert (found.answers_equal, found.steps_equal, found.settled) == (0, 0, 12)
    assert (found.answers_near_tie, found.steps_near_tie) == (0, 0)


def swapped_cell(before: Tensors, after: Tensors) -> None:
    """Puzzles that begin with 2 get another answer in their last cell, by a wide margin."""
    rows = after["current_inputs"][:, 0] == 2
    after["logits"][rows, -1] = np.roll(after["logits"][rows, -1], 1, axis=-1)


def test_another_answer_on_a_settled_puzzle_fails() -> None:
    result = judged(swapped_cell)
    assert result.broken is not None
    assert result.broken.name == "answers"
    assert result.decisions is not None
    assert [
        (d.puzzle, d.kind, (d.first_cell,), d.near_tie) for d in result.decisions.differences
    ] == [
        (1, "answer", (3,), False),
        (6, "answer", (3,), False),
        (11, "answer", (3,), False),
    ]
    assert result.accuracy is not None
    assert result.accuracy.lost == (1, 6, 11)


def test_another_answer_on_an_unsettled_puzzle_is_listed_and_judged_by_accuracy() -> None:
    result = judged(swapped_cell, unsettled=(1, 6, 11), exact_drop=0.005)
    assert result
    assert result.decisions is not None
    assert result.decisions.unsettled_answers_equal == 0
    assert [d.settled for d in result.decisions.differences] == [False] * 3


@pytest.mark.parametrize(
    ("most", "limit", "needed"),
    [
        (0.1, "10", None),
        (0.005, "0.5; one of 12 is 8.3 points, so compare 200 puzzles or more", 200),
        (0.0, "0", None),
    ],
)
def test_a_lost_puzzle_fails_where_only_accuracy_is_gated(
    most: float, limit: str, needed: int | None
) -> None:
    gates = Gates(exact_drop=most)
    result = compare(FakeRunner(), AlteredRunner(swapped_cell), toy_puzzles(), gates=gates)
    assert result.broken is not None
    assert result.broken.name == "task accuracy"
    problem = f"exact accuracy drops 25.00 points, expected at most {limit}"
    assert result.broken.problems == (problem,)
    assert result.to_json()["rungs"][-1]["needed"] == result.broken.needed == needed


def test_all_differences_are_counted_and_the_gravest_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows 1, 6 and 11 differ, the first of them unsettled."""
    full = judged(swapped_cell, unsettled=(1,))
    monkeypatch.setattr("trm_runtime.parity.decisions.LISTED", 1)
    short = judged(swapped_cell, unsettled=(1,))
    assert full.decisions is not None
    assert short.decisions is not None
    assert full.decisions.unlisted == 0
    assert [d.puzzle for d in short.decisions.differences] == [6]
    assert short.decisions.unlisted == 2
    counts = replace(short.decisions, differences=(), unlisted=0)
    assert counts == replace(full.decisions, differences=())
    assert full.broken is not None
    assert short.broken is not None
    assert short.broken.summary == full.broken.summary
    assert (len(full.broken.problems), full.broken.unlisted) == (2, 0)
    assert (short.broken.problems, short.broken.unlisted) == (full.broken.problems[:1], 1)
    shown = text(short)
    assert "2 problems:" in shown
    assert shown.count("  - ") == 1


def test_a_near_tie_that_is_not_listed_still_excuses_a_lost_puzzle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trm_runtime.parity.decisions.LISTED", 0)
    reference, candidate = AlteredRunner(close_call(1e-5)), AlteredRunner(close_call(-1e-5))
    result = compare(reference, candidate, toy_puzzles())
    assert result
    assert result.decisions is not None
    assert (result.decisions.differences, result.decisions.unlisted) == ((), 4)
    assert result.accuracy is not None
    assert result.decisions.lost_near_tie == len(result.accuracy.lost) == 2


def test_cells_are_gated_where_asked() -> None:
    assert judged(swapped_cell, answers=None, cells=0.9)
    result = judged(swapped_cell, answers=None, cells=0.99)
    assert result.broken is not None
    assert result.broken.problems == ("93.750% of cells equal, expected 99.0%",)


def later(before: Tensors, after: Tensors) -> None:
    """Puzzles that begin with 3 halt one step late; their answer stays right."""
    rows = after["current_inputs"][:, 0] == 3
    after["q_halt_logits"][rows] -= 1
    after["logits"][rows & (after["steps"] == 4)] = np.eye(6)[
        (after["current_inputs"][rows & (after["steps"] == 4)] + 3) % 6
    ]


def test_another_halting_step_fails() -> None:
    result = judged(later)
    assert result.broken is not None
    assert result.broken.name == "halting steps"
    assert result.broken.problems[0].startswith("puzzle 2, halting step: expected 3, got 4")


def test_mean_steps_are_gated_where_asked() -> None:
    assert judged(later, halting_steps=None, mean_steps=0.25)
    result = judged(later, halting_steps=None, mean_steps=0.1)
    assert result.broken is not None
    assert result.broken.problems == ("mean steps differ by 0.17, expected at most 0.1",)
    result = judged(later, halting_steps=None, mean_steps=0.08)
    assert result.broken is not None
    assert result.broken.problems == (
        "mean steps differ by 0.17, expected at most 0.08; puzzle 2 of 12 alone makes that 0.08, "
        "so compare 13 puzzles or more",
    )
    assert result.broken.needed == 13


def close_call(shift: float) -> Alter:
    """Puzzles that begin with 3 clear the threshold by `shift` logits."""

    def alter(before: Tensors, after: Tensors) -> None:
        rows = (after["current_inputs"][:, 0] == 3) & (after["steps"] == 3)
        after["q_halt_logits"][rows] = shift

    return alter


def test_a_near_tie_is_counted_and_excused_in_fp32() -> None:
    reference, candidate = AlteredRunner(close_call(1e-5)), AlteredRunner(close_call(-1e-5))
    result = compare(reference, candidate, toy_puzzles())
    assert result
    assert result.decisions is not None
    assert (result.decisions.steps_near_tie, result.decisions.steps_equal) == (2, 10)
    assert result.decisions.answers_near_tie == 2
    assert {d.puzzle for d in result.decisions.differences} == {2, 7}
    assert "2 near-ties" in result.rungs[6].summary


def test_a_near_tie_counts_where_gates_say_so() -> None:
    reference, candidate = AlteredRunner(close_call(1e-5)), AlteredRunner(close_call(-1e-5))
    gates = Gates(halting_steps=0.99)
    result = compare(reference, candidate, toy_puzzles(), gates=gates)
    assert result.broken is not None
    assert result.broken.name == "halting steps"


def test_a_reference_that_settles_nothing_is_said_so() -> None:
    puzzles = toy_puzzles(12, tuple(range(12)))
    result = compare(FakeRunner(), FakeRunner(), puzzles)
    assert result
    assert statuses(result)[5:7] == ["not judged"] * 2
    assert "settles none" in result.verdict
    assert "so answers and halting steps could not be judged" in result.verdict
    result = compare(FakeRunner(), FakeRunner(), puzzles, gates=Gates(cosine=0.5, mean_steps=0.1))
    assert statuses(result)[5:7] == ["not judged", "ok"]  # by the mean
    assert "so answers could not be judged" in result.verdict


def test_cosine_gates_let_small_errors_through() -> None:
    def alter(before: Tensors, after: Tensors) -> None:
        after["z_H"] *= 1.001

    contract = make_contract(precision="fp16")
    assert compare(FakeRunner(), AlteredRunner(alter, contract), toy_puzzles())
    assert not compare(FakeRunner(), AlteredRunner(alter), toy_puzzles())


def test_other_weights_are_mentioned() -> None:
    contract = make_contract()
    other = replace(contract, made_by=replace(contract.made_by, weights_sha256="1" * 64))
    result = compare(FakeRunner(), AlteredRunner(swapped_cell, other), toy_puzzles())
    assert result.verdict.startswith("FAILED: made from other weights than the reference, which ")


def test_where_the_file_is_at_fault_nothing_is_said_of_its_precision() -> None:
    result = compare(FakeRunner(), FakeRunner(), toy_puzzles())
    right, wrong = WeightsReport(OK, "fp32"), WeightsReport(FAILED, "fp32", problems=("x",))
    broken = Rung("engine", FAILED, "it computes something else")
    assert [text.split(":")[0] for text in hops(result, right, None, None)] == ["File", "Precision"]
    assert [text.split(":")[0] for text in hops(result, wrong, None, None)] == ["File"]
    assert [text.split(":")[0] for text in hops(result, right, None, broken)] == ["File", "Engine"]
    kinds = [text.split(":")[0] for text in hops(result, right, broken, None)]
    assert kinds == ["File", "Export"]


def test_shares_of_nothing_are_not_told() -> None:
    some, none = (
        compare(FakeRunner(), FakeRunner(), toy_puzzles(12, unsettled))
        for unsettled in ((), range(12))
    )
    assert none.decisions is not None
    assert none.decisions.settled == 0
    for result, steps in ((some, ", 12 of 12 halting steps equal"), (none, "")):
        assert (
            cost_text(result) == f"fp32 costs nothing on 12 puzzles (0 lost, 0 won, p = 1){steps}"
        )
    assert cost_text(replace(some, accuracy=None)) == (
        "fp32 gives 12 of 12 equal answers, 12 of 12 halting steps equal"
    )
    assert cost_text(replace(none, accuracy=None)) is None


def test_a_result_is_json() -> None:
    document = plain(compare(FakeRunner(), FakeRunner(), toy_puzzles()).to_json())
    assert (document["kind"], document["rows"]) == ("parity", "puzzles")
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["passed"] is True
    assert json.loads(text)["rungs"][0]["name"] == "names"


def test_puzzles_that_do_not_fit_are_refused() -> None:
    puzzles = replace(toy_puzzles(), inputs=np.full((2, 4), 9, np.int32))
    with pytest.raises(RejectedInputError, match="id 9"):
        compare(FakeRunner(), FakeRunner(), puzzles)
    with pytest.raises(UsageError, match="batch_size"):
        compare(FakeRunner(), FakeRunner(), toy_puzzles(), batch_size=0)
