"""How confident an answer is, and which answers are withheld."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import MAX_STEPS, FakeRunner, make_contract, make_puzzles
from tests.runtime.graphs import build
from tests.runtime.graphs import write as write_onnx
from tests.runtime.test_loop_graph import FakeLoop, loop_contract
from tests.runtime.test_settling import Moving, expected
from trm_runtime import ContractError, StepContract, StepEvent, UsageError, solve, write
from trm_runtime.__main__ import main
from trm_runtime.answers import Stream
from trm_runtime.certainty import confidence_of
from trm_runtime.confidence import Confidence

Array = np.ndarray[Any, Any]

BY_SCORE = Confidence(bias=-2.0, score=0.75, moved=0.0, agreement=0.0, puzzles=9, tries=1)
BY_ALL = Confidence(bias=-1.0, score=0.5, moved=-0.25, agreement=2.0, puzzles=9, tries=3)


def sigmoid(z: Any) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.asarray(z, np.float64))), np.float32)


def test_the_confidence_is_that_of_the_formula() -> None:
    puzzles = make_puzzles(12)
    solution = solve(Moving(confidence=BY_ALL), puzzles, abstain=0.0, halt="max_steps")
    score = MAX_STEPS - puzzles[:, 0] + 0.5
    moved = expected(puzzles, MAX_STEPS)
    wanted = sigmoid(-1.0 + 0.5 * score - 0.25 * np.log(np.float64(moved)) + 2.0)
    assert solution.confidence is not None
    np.testing.assert_allclose(solution.confidence, wanted, rtol=1e-6)
    assert solution.confidence.dtype == np.float32
    assert solution.unknown is not None
    assert not solution.unknown.any()


def test_a_first_step_counts_as_moved_by_all_of_the_state() -> None:
    puzzles = make_puzzles(5)
    solution = solve(Moving(confidence=BY_ALL), puzzles, abstain=0.0, max_steps=1)
    wanted = sigmoid(-1.0 + 0.5 * (1.5 - puzzles[:, 0]) + 2.0)
    np.testing.assert_allclose(np.asarray(solution.confidence), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("score", "moved", "agreement"),
    [(1e30, 0.0, 1.0), (-1e30, np.inf, 0.25), (3.0, 1e-9, 0.5), (np.inf, 2.0, 1.0)],
)
def test_what_is_out_of_range_is_limited(score: float, moved: float, agreement: float) -> None:
    got = confidence_of(
        BY_ALL, np.float32([score]), np.float32([moved]), np.float32([agreement])
    )  # fmt: skip
    z = -1.0 + 0.5 * np.clip(score, -100, 100) - 0.25 * np.log(np.clip(moved, 1e-6, 1.0))
    np.testing.assert_allclose(got, sigmoid([z + 2.0 * agreement]), rtol=1e-5)


def halves(runner: Any, puzzles: Array, **options: Any) -> tuple[Any, Array]:
    """The solution where about half of the answers are withheld, and which should be."""
    sure = np.asarray(solve(runner, puzzles, abstain=0.0, **options).confidence)
    limit = float(np.sort(sure)[len(sure) // 2])
    return solve(runner, puzzles, abstain=limit, **options), sure < np.float32(limit)


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"max_steps": 3}])
def test_answers_below_are_withheld_and_the_others_as_without(options: dict[str, Any]) -> None:
    puzzles = make_puzzles(20)
    runner = FakeRunner(make_contract(confidence=BY_SCORE))
    solution, hidden = halves(runner, puzzles, halt=1.0, **options)
    assert 0 < hidden.sum() < 20 or "max_steps" not in options
    plain = solve(runner, puzzles, halt=1.0, **options)
    np.testing.assert_array_equal(solution.unknown, hidden)
    np.testing.assert_array_equal(solution.answers[~hidden], plain.answers[~hidden])
    assert (solution.answers[hidden] == 0).all()
    np.testing.assert_array_equal(solution.steps, plain.steps)
    np.testing.assert_array_equal(solution.q_halt, plain.q_halt)
    assert [text == "unknown" for text in solution.texts] == hidden.tolist()
    assert all(solution.given_kept[row] is None for row in np.flatnonzero(hidden))


def test_nan_and_no_step_are_never_confident() -> None:
    runner = FakeRunner(make_contract(confidence=BY_SCORE), poison={3: ("z_H", 2)})
    puzzles = make_puzzles(9)
    puzzles[:, -1] = [3, *[1] * 8]
    puzzles[0, 0] = 5
    solution = solve(runner, puzzles, abstain=0.0)
    assert solution.stop_reasons[0] == "nonfinite"
    assert np.asarray(solution.confidence)[0] == 0.0
    assert (np.asarray(solution.confidence)[1:] > 0).all()
    late = solve(runner, puzzles, abstain=0.01, deadline=0)
    assert np.asarray(late.unknown).all()


def test_tries_that_agree_are_counted() -> None:
    """With noise on the toy's states tries differ: the share is that of all answers."""
    puzzles = make_puzzles(6)
    runner = Moving(confidence=BY_ALL)
    answers: dict[tuple[int, int], Array] = {}

    def look(event: StepEvent) -> None:
        tries = np.asarray(event.tries)
        for row, number, answer, reason in zip(
            event.rows, tries, event.answers, event.stop_reasons, strict=True
        ):
            if reason in ("halted", "max_steps"):
                answers[int(row), int(number)] = answer

    options: dict[str, Any] = {"tries": 5, "vary": "noise", "sigma": 0.4, "choose": "vote"}
    solution = solve(runner, puzzles, abstain=0.0, on_step=look, **options)
    chosen = np.asarray(solution.chosen)
    share = [
        np.mean([(answers[row, k] == answers[row, chosen[row]]).all() for k in range(5)])
        for row in range(6)
    ]
    np.testing.assert_allclose(np.asarray(solution.agreement), share, rtol=1e-6)
    assert min(share) < 1
    score = np.asarray(solution.q_halt, np.float64)
    moved = np.clip(np.asarray(solution.moved, np.float64), 1e-6, 1)
    wanted = sigmoid(-1.0 + 0.5 * score - 0.25 * np.log(moved) + 2.0 * np.array(share))
    np.testing.assert_allclose(np.asarray(solution.confidence), wanted, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"tries": 3, "vary": "noise"}])
@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_written_while_solving_is_what_is_written_after(
    as_json: bool, options: dict[str, Any]
) -> None:
    puzzles = make_puzzles(12)
    contract = make_contract(confidence=BY_SCORE)
    early, late = io.StringIO(), io.StringIO()
    stream = Stream(early, contract, puzzles, as_json=as_json)
    solution = solve(
        FakeRunner(contract), puzzles, abstain=0.2, halt=1.0, on_step=stream, **options
    )
    stream.finish(solution)
    stream.end()
    write(solution, late, as_json=as_json)
    assert early.getvalue() == late.getvalue()
    if not as_json:
        lines = [line.split("\t") for line in late.getvalue().splitlines()]
        assert [line[0] == "unknown" for line in lines] == np.asarray(solution.unknown).tolist()
        assert {len(line) for line in lines} == {8 if options else 5}
        return
    for row in json.loads(late.getvalue())["puzzles"]:
        known = row["confidence"] >= 0.2
        assert (row["answer"] is not None) == (row["ids"] is not None) == known
        why = None if known else f"the confidence {row['confidence']:.7g} is below 0.2"
        assert row["reason"] == why


def test_without_the_option_a_file_with_coefficients_answers_as_one_without() -> None:
    puzzles = make_puzzles(12)
    texts = []
    for confidence in (None, BY_ALL):
        solution = solve(Moving(confidence=confidence), puzzles)
        assert solution.confidence is solution.unknown is solution.moved is None
        text = io.StringIO()
        write(solution, text)
        write(solution, text, as_json=True)
        texts.append(text.getvalue() + solution.to_json())
    assert texts[0] == texts[1]


def test_a_probability_of_numpy() -> None:
    runner = FakeRunner(make_contract(confidence=BY_SCORE))
    found = [solve(runner, make_puzzles(9), abstain=p) for p in (np.float32(0.5), 0.5)]
    assert found[0].to_json() == found[1].to_json()
    assert type(found[0].abstain) is float


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, float("nan"), True, "0.9"])
def test_a_wrong_probability_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="abstain: expected a number of 0 or more and below 1"):
        solve(FakeRunner(make_contract(confidence=BY_SCORE)), make_puzzles(2), abstain=value)


def test_a_file_without_coefficients_is_refused() -> None:
    with pytest.raises(UsageError, match="`trm-export tune --confidence`"):
        solve(FakeRunner(), make_puzzles(2), abstain=0.5)


def test_a_loop_is_confident_by_its_score() -> None:
    loop = FakeLoop(loop_contract(confidence=BY_SCORE))
    puzzles = make_puzzles(9)
    solution = solve(loop, puzzles, abstain=0.3)
    np.testing.assert_allclose(
        np.asarray(solution.confidence), sigmoid(-2.0 + 0.75 * solution.q_halt), rtol=1e-6
    )
    with pytest.raises(ContractError, match=r"confidence\.moved: expected 0"):
        loop_contract(confidence=BY_ALL)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bias": float("inf")}, "confidence.bias: expected a finite number, got inf"),
        ({"puzzles": 0}, "confidence.puzzles: expected 1 or more, got 0"),
        ({"tries": 0}, "confidence.tries: expected 1 or more, got 0"),
    ],
)
def test_wrong_coefficients_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ContractError) as caught:
        make_contract(confidence=replace(BY_ALL, **changes))
    assert caught.value.problems == (problem,)


def test_coefficients_are_read_back() -> None:
    contract = make_contract(confidence=BY_ALL)
    assert StepContract.from_json(contract.to_json()) == contract
    assert "confidence" not in make_contract().to_json()


def test_the_command_says_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_onnx(tmp_path / "toy.onnx", build(make_contract(confidence=BY_SCORE)))
    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("1111\n4111\n")
    assert main([str(file), str(puzzles), "--max-steps", "3", "--abstain", "0.1"]) in (0, 7)
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert not first.startswith("unknown")
    assert second.startswith("unknown\t3\tmax_steps\t")
    assert "1 answer unknown: less confident than --abstain" in captured.err
