from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.runtime.conftest import MakeRunner
from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from trm_runtime import RejectedInputError, initial_carry, solve
from trm_runtime.checks import check_inputs, check_step_call


def refused(inputs: Any, **fields: Any) -> tuple[str, ...]:
    with pytest.raises(RejectedInputError, match="The puzzles do not fit") as caught:
        check_inputs(make_contract(**fields), inputs)
    return caught.value.problems


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_any_integer_dtype_becomes_int32(dtype: str) -> None:
    checked = check_inputs(make_contract(), {"inputs": make_puzzles(3).astype(dtype)})
    assert checked["inputs"].dtype == np.int32
    np.testing.assert_array_equal(checked["inputs"], make_puzzles(3))


def test_a_wrong_id_is_named_by_row_column_value_and_range() -> None:
    puzzles = make_puzzles(3)
    puzzles[2, 1] = 6
    assert refused({"inputs": puzzles}) == ("input 'inputs', row 2, column 1: id 6 is not in 0..5",)


@pytest.mark.parametrize("value", [-1, 6, 2**40, -(2**63)])
def test_ids_are_not_wrapped_before_they_are_checked(value: int) -> None:
    puzzles = make_puzzles(2).astype(np.int64)
    puzzles[0, 3] = value
    assert refused({"inputs": puzzles})[0].endswith(f"id {value} is not in 0..5")


def test_only_the_first_wrong_ids_are_listed() -> None:
    problems = refused({"inputs": np.full((10, 4), -1)})
    assert len(problems) == 6
    assert problems[-1] == "... and 35 more in 'inputs'"


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (
            make_puzzles(2).astype(np.float32),
            "expected an integer dtype such as int32, got float32",
        ),
        (make_puzzles(2) > 3, "expected an integer dtype such as int32, got bool"),
        (np.array([["a"]]), "expected an integer dtype such as int32, got <U1"),
        (make_puzzles(2)[:, :3], "expected shape (2, 4), got (2, 3)"),
        (make_puzzles(4)[0], "expected shape (N, 4), got (4,)"),
        (np.int32(3), "expected shape (N, 4), got ()"),
    ],
)
def test_dtype_and_shape(array: Any, problem: str) -> None:
    assert refused({"inputs": array}) == (f"input 'inputs': {problem}",)


def test_names_and_identifiers_are_checked_with_the_rest() -> None:
    ids = np.array([0, 7, 1])
    inputs = {"inputs": make_puzzles(2), "puzzle_identifiers": ids, "colour": ids}
    assert refused(inputs, num_puzzle_identifiers=7) == (
        "input 'colour': unknown; expected inputs, puzzle_identifiers",
        "input 'puzzle_identifiers': expected shape (2,), got (3,)",
    )
    inputs = {"inputs": make_puzzles(3), "puzzle_identifiers": ids}
    problems = refused(inputs, num_puzzle_identifiers=7)
    assert problems == ("input 'puzzle_identifiers', row 1: id 7 is not in 0..6",)
    assert refused({}, num_puzzle_identifiers=7) == (
        "input 'inputs': missing",
        "input 'puzzle_identifiers': missing",
    )


def test_a_bad_carry_is_refused_with_everything_wrong() -> None:
    contract = make_contract()
    carry: dict[str, Any] = dict(initial_carry(contract, 2))
    carry["z_H"] = carry["z_H"].astype(np.float64)
    carry["z_L"] = carry["z_L"][:1]
    carry["extra"] = carry.pop("steps")
    with pytest.raises(RejectedInputError, match="The carry does not fit") as caught:
        check_step_call(contract, {"inputs": make_puzzles(2)}, carry)
    assert caught.value.problems == (
        "carry 'steps': missing",
        "carry 'extra': unknown; expected z_H, z_L, steps, halted, current_inputs",
        "carry 'z_H': expected dtype float32, got float64",
        "carry 'z_L': expected shape (2, 4, 3), got (1, 4, 3)",
    )


def test_every_driver_checks_before_its_engine_runs(make_runner: MakeRunner) -> None:
    runner = make_runner(batch=2)
    carry = initial_carry(runner.contract, 2)
    with pytest.raises(RejectedInputError, match="row 1, column 3: id 9 is not in"):
        runner.step({"inputs": np.array([[1, 1, 1, 1], [1, 1, 1, 9]])}, carry)
    with pytest.raises(RejectedInputError, match=r"expected shape \(2, 4\), got \(3, 4\)"):
        runner.step({"inputs": make_puzzles(3)}, carry)
    with pytest.raises(RejectedInputError, match="carry 'z_H': missing"):
        runner.step({"inputs": make_puzzles(2)}, {n: a for n, a in carry.items() if n != "z_H"})


def test_solve_checks_before_the_first_step() -> None:
    runner = FakeRunner()
    with pytest.raises(RejectedInputError, match="row 70, column 0: id -1"):
        solve(runner, np.array([[1, 1, 1, 1]] * 70 + [[-1, 1, 1, 1]]))
    assert runner.batches == []
