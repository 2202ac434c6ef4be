"""Puzzle embeddings beside a graph: rows of a memory-mapped file, checked before they are used."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import SEQ, VOCAB, make_contract, make_puzzles
from trm_runtime import (
    CarrySpec,
    ContractError,
    RejectedInputError,
    StepContract,
    StepOutput,
    TensorSpec,
    UsageError,
    initial_carry,
    open_runner,
    solve,
)
from trm_runtime.checks import check_step_call
from trm_runtime.file_kinds import CONTRACT, Engine, beside
from trm_runtime.puzzle_table import PuzzleTableRunner, open_table, table_beside
from trm_runtime.puzzles import read_identifiers

Array = np.ndarray[Any, Any]

ROWS, WIDTH = 5, 3
TABLE = (np.arange(ROWS * WIDTH, dtype=np.float32) * 10).reshape(ROWS, WIDTH)


def external(sha256: str = "0" * 64, **changes: Any) -> StepContract:
    """The toy contract, whose graph takes rows of a table."""
    inside = make_contract(num_puzzle_identifiers=ROWS)
    shape = (None, WIDTH)
    name = "current_puzzle_embedding"
    fields: dict[str, Any] = {
        "puzzle_table_sha256": sha256,
        "inputs": (inside.inputs[0], TensorSpec("puzzle_embedding", "float32", shape)),
        "carry": (*inside.carry[:-1], CarrySpec(name, f"{name}_next", "float32", shape, 0.0)),
    }
    return dataclasses.replace(inside, **{**fields, **changes})


class Toy:
    """Halts after two steps; every cell of an answer is the cell plus the row's first number."""

    def __init__(self, contract: StepContract) -> None:
        self.contract = contract

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        given = check_step_call(self.contract, inputs, carry)
        halted = carry["halted"]
        after = {
            name: np.where(halted[:, None], given[name], carry[f"current_{name}"])
            for name in ("inputs", "puzzle_embedding")
        }
        steps = (np.where(halted, 0, carry["steps"]) + 1).astype(np.int32)
        shift = after["puzzle_embedding"][:, :1].astype(int) // 10
        answers = (after["inputs"] + shift) % VOCAB
        outputs = {
            "logits": np.eye(VOCAB, dtype=np.float32)[answers],
            "q_halt_logits": (steps - 1.5).astype(np.float32),
            "q_continue_logits": np.zeros(len(steps), np.float32),
        }
        states = {name: carry[name] + np.float32(1) for name in ("z_H", "z_L")}
        states.update({f"current_{name}": array for name, array in after.items()})
        return StepOutput({**states, "steps": steps, "halted": steps >= 8}, outputs)


def saved(path: Path, table: Any = TABLE, **options: Any) -> tuple[Path, str]:
    np.save(path, table, **options)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(path: Path, contract: StepContract) -> str:
    with pytest.raises(RejectedInputError) as caught:
        open_table(path, contract)
    return str(caught.value)


# --- the contract ---------------------------------------------------------------------------------


def test_the_key_is_in_the_json_only_where_it_means_something() -> None:
    contract = external("ab" * 32)
    assert json.loads(contract.to_json())["puzzle_table_sha256"] == "ab" * 32
    assert StepContract.from_json(contract.to_json()) == contract
    inside = make_contract(num_puzzle_identifiers=ROWS)
    assert "puzzle_table_sha256" not in json.loads(inside.to_json())
    assert StepContract.from_json(inside.to_json()) == inside
    null = json.dumps({**inside.document(), "puzzle_table_sha256": None})
    assert StepContract.from_json(null) == inside


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"puzzle_table_sha256": None}, "puzzle_table_sha256: expected 64 hexadecimal digits"),
        ({"puzzle_table_sha256": "xyz"}, "expected 64 hexadecimal digits, got 'xyz'"),
        ({"num_puzzle_identifiers": None}, "num_puzzle_identifiers: expected 1 or more"),
        ({"inputs": make_contract().inputs}, "expected null without the input puzzle_embedding"),
        (
            {"inputs": make_contract(num_puzzle_identifiers=2).inputs + external().inputs[1:]},
            "expected this input or puzzle_identifiers, got both",
        ),
        (
            {"carry": make_contract(num_puzzle_identifiers=2).carry},
            "current_puzzle_embedding: the contract has no such carry tensor",
        ),
        (
            {"inputs": (external().inputs[0], TensorSpec("puzzle_embedding", "int32", (None, 3)))},
            "puzzle_embedding: expected float32 (batch, 3), got int32 (batch, 3)",
        ),
    ],
    ids=range(7),
)
def test_rules(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ContractError) as caught:
        external(**changes)
    assert any(complaint in problem for problem in caught.value.problems), caught.value.problems


def test_rows_are_checked_like_other_inputs() -> None:
    toy = Toy(external())
    carry = initial_carry(toy.contract, 2)
    rows = np.zeros((2, WIDTH), np.float32)
    bad = {
        "expected dtype float32, got float64": rows.astype(float),
        "expected shape (2, 3), got (2, 2)": rows[:, :2],
        "contains NaN or infinite values": rows * np.nan,
    }
    for complaint, array in bad.items():
        with pytest.raises(RejectedInputError, match="The puzzles do not fit") as caught:
            toy.step({"inputs": make_puzzles(2), "puzzle_embedding": array}, carry)
        assert caught.value.problems == (f"input 'puzzle_embedding': {complaint}",)


# --- the table ------------------------------------------------------------------------------------


def test_a_sound_table_is_mapped_not_read(tmp_path: Path) -> None:
    path, sha256 = saved(tmp_path / "t.npy")
    table = open_table(path, external(sha256))
    assert isinstance(table, np.memmap)
    assert not table.flags.writeable
    np.testing.assert_array_equal(table, TABLE)


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path, sha256 = saved(tmp_path / "t.npy", TABLE[:4].astype(np.float64))
    message = refusal(path, external(sha256))
    assert "expected dtype float32, got float64" in message
    assert "expected shape (5, 3), got (4, 3)" in message
    saved(path, TABLE + 1)
    assert "it belongs to another model" in refusal(path, external(sha256))
    assert "cannot be read: No such file" in refusal(tmp_path / "none.npy", external())


def test_files_that_are_no_table(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "t.npy")
    whole = path.read_bytes()
    for data in (b"", b"text", whole[:20], whole[:-4]):
        path.write_bytes(data)
        assert "not a .npy file, or a damaged one" in refusal(path, external())
    saved(path, np.array([{}], dtype=object), allow_pickle=True)
    assert "not a .npy file, or a damaged one" in refusal(path, external())
    with path.open("wb") as file:
        np.savez(file, table=TABLE)
    assert "not a .npy file, or a damaged one" in refusal(path, external())


# --- the runner -----------------------------------------------------------------------------------


def test_it_is_a_model_with_the_table_inside() -> None:
    runner = PuzzleTableRunner(Toy(external()), TABLE)
    assert runner.contract == make_contract(num_puzzle_identifiers=ROWS)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_puzzle_gets_its_row_in_every_slot(batch_size: int) -> None:
    runner = PuzzleTableRunner(Toy(external()), TABLE)
    puzzles, identifiers = make_puzzles(11), np.arange(11) * 2 % ROWS
    inputs = {"inputs": puzzles, "puzzle_identifiers": identifiers}
    solution = solve(runner, inputs, batch_size=batch_size)
    expected = (puzzles + TABLE[identifiers, :1].astype(int) // 10) % VOCAB
    np.testing.assert_array_equal(solution.answers, expected)
    assert set(solution.steps.tolist()) == {2}


def test_a_running_row_keeps_its_identifier() -> None:
    runner = PuzzleTableRunner(Toy(external()), TABLE)
    carry = {**initial_carry(runner.contract, 2), "halted": np.array([True, False])}
    carry["current_puzzle_identifiers"] = np.array([1, 4], np.int32)
    inputs = {"inputs": make_puzzles(2), "puzzle_identifiers": np.array([2, 3], np.int32)}
    after = runner.step(inputs, carry).carry["current_puzzle_identifiers"]
    assert (after.tolist(), after.dtype) == ([2, 4], np.int32)


def test_identifiers_out_of_range_never_reach_the_table() -> None:
    runner = PuzzleTableRunner(Toy(external()), TABLE)
    inputs = {"inputs": make_puzzles(2), "puzzle_identifiers": np.array([0, -1])}
    with pytest.raises(RejectedInputError, match=r"row 1: id -1 is not in 0\.\.4"):
        runner.step(inputs, initial_carry(runner.contract, 2))
    carry = initial_carry(runner.contract, 2)
    carry["current_puzzle_identifiers"] = np.array([0, 5], np.int32)
    inputs["puzzle_identifiers"] = np.array([0, 1])
    with pytest.raises(RejectedInputError, match="carry 'current_puzzle_identifiers', row 1: id 5"):
        runner.step(inputs, carry)


def test_opening_looks_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "toy.onnx"
    table, sha256 = saved(table_beside(model))
    contract = external(sha256)
    monkeypatch.setattr(Engine, "load_driver", lambda engine: lambda path, threads: Toy(contract))
    assert table.name == "toy.onnx.puzzle_table.npy"
    assert isinstance(open_runner(model), PuzzleTableRunner)
    table = table.rename(tmp_path / "elsewhere.npy")
    with pytest.raises(RejectedInputError, match=r"toy\.onnx\.puzzle_table\.npy: the puzzle embed"):
        open_runner(model)
    assert isinstance(open_runner(model, puzzle_table=table), PuzzleTableRunner)
    contract = make_contract()
    with pytest.raises(UsageError, match="takes no external puzzle table; drop --puzzle-table"):
        open_runner(model, puzzle_table=table)


def test_behind_a_link_it_is_the_table_of_the_file_unless_a_contract_is_beside_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, link = tmp_path / "toy.onnx", tmp_path / "latest.onnx"
    model.touch()
    link.symlink_to(model)
    _, sha256 = saved(table_beside(model))
    saved(table_beside(link), TABLE + 1)  # of a file that was there before the link
    contract = external(sha256)
    monkeypatch.setattr(Engine, "load_driver", lambda engine: lambda path, threads: Toy(contract))
    assert isinstance(open_runner(link), PuzzleTableRunner)
    beside(link, CONTRACT).touch()
    with pytest.raises(RejectedInputError, match=r"latest\.onnx\.puzzle_table\.npy: not the"):
        open_runner(link)
    table_beside(link).unlink()
    assert isinstance(open_runner(link), PuzzleTableRunner)
    table_beside(model).rename(table_beside(link))
    beside(link, CONTRACT).unlink()
    assert isinstance(open_runner(link), PuzzleTableRunner)


def test_identifiers_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("4\n\n 0 \r\n")
    assert read_identifiers(str(path)).tolist() == [4, 0]
    path.write_text("4\nfour\n1.5\n")
    with pytest.raises(RejectedInputError) as caught:
        read_identifiers(str(path))
    assert caught.value.problems == (
        "line 2: expected one integer, got 'four'",
        "line 3: expected one integer, got '1.5'",
    )
    assert SEQ == 4
