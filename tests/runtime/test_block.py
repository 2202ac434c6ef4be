"""Steps made of passes: the toy model cut into passes, and what the loop makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import (
    MAX_STEPS,
    FakeRunner,
    assert_solved,
    make_contract,
    make_puzzles,
)
from trm_runtime import (
    CarrySpec,
    RejectedInputError,
    StepContract,
    StepOutput,
    initial_carry,
    open_runner,
    solve,
)
from trm_runtime.block import BlockRunner
from trm_runtime.checks import check_step_call

PASSES = 3


def block_contract(passes: int = PASSES, **fields: Any) -> StepContract:
    step = make_contract(**fields)
    count = CarrySpec("passes", "passes_next", "int32", (step.batch,), 0)
    return replace(step, granularity="block", passes=passes, carry=(*step.carry, count))


@dataclass
class FakeBlock:
    """One pass of the toy model, which steps in its last pass.

    Before that its outputs are NaN and its `halted` is False, as nothing is decided yet.
    """

    contract: StepContract = field(default_factory=block_contract)
    calls: list[list[int]] = field(default_factory=list)

    def step(self, inputs: Any, carry: Any) -> StepOutput:
        tokens = check_step_call(self.contract, inputs, carry)
        done = carry["passes"]
        self.calls.append(done.tolist())
        toy = FakeRunner(BlockRunner(self).contract)
        kept = {name: array for name, array in carry.items() if name != "passes"}
        out = toy.step(tokens, kept)
        if (done == self.contract.passes - 1).all():
            return StepOutput({**out.carry, "passes": np.zeros_like(done)}, out.outputs)
        nothing = {name: np.full_like(array, np.nan) for name, array in out.outputs.items()}
        begun = {**kept, "passes": done + 1, "current_inputs": out.carry["current_inputs"]}
        reset = carry["halted"]
        begun["steps"] = np.where(reset, 0, carry["steps"]).astype(np.int32)
        begun["halted"] = np.zeros_like(reset)
        for name in ("z_H", "z_L"):
            begun[name] = np.where(reset[:, None, None], np.float32(0), carry[name])
        return StepOutput(begun, nothing)


def test_the_contract_is_that_of_the_step() -> None:
    assert BlockRunner(FakeBlock()).contract == make_contract()


@pytest.mark.parametrize("batch", [None, 4])
def test_rows_are_latched_reset_and_refilled(batch: int | None) -> None:
    block = FakeBlock(block_contract(batch=batch))
    puzzles = make_puzzles(11)
    size = 4 if batch is None else None
    assert_solved(solve(BlockRunner(block), puzzles, batch_size=size), puzzles, puzzles[:, 0])
    assert [call[0] for call in block.calls] == [0, 1, 2] * (len(block.calls) // PASSES)


def test_all_steps() -> None:
    puzzles = make_puzzles(5)
    solution = solve(BlockRunner(FakeBlock()), puzzles, halt="max_steps")
    assert_solved(solution, puzzles, MAX_STEPS)


def test_a_block_of_one_pass_is_a_step() -> None:
    puzzles, block = make_puzzles(5), FakeBlock(block_contract(passes=1))
    assert_solved(solve(BlockRunner(block), puzzles), puzzles, puzzles[:, 0])
    assert len(block.calls) == 5


def test_a_step_leaves_its_arguments_alone() -> None:
    runner = BlockRunner(FakeBlock())
    inputs, carry = {"inputs": make_puzzles(2)}, initial_carry(runner.contract, 2)
    before = {name: array.copy() for name, array in carry.items()}
    out = runner.step(inputs, carry)
    assert carry.keys() == before.keys() == out.carry.keys()
    for name, array in carry.items():
        np.testing.assert_array_equal(array, before[name])
    assert np.isfinite(out.outputs["logits"]).all()


@pytest.mark.parametrize(
    ("inputs", "extra", "complaint"),
    [
        ({}, {}, "input 'inputs': missing"),
        ({"inputs": make_puzzles(2)[:, :3]}, {}, r"expected shape \(2, 4\), got \(2, 3\)"),
        (
            {"inputs": make_puzzles(2)},
            {"passes": np.ones(2, np.int32)},
            "carry 'passes': unknown; expected z_H, z_L, steps, halted, current_inputs$",
        ),
    ],
)
def test_a_bad_call_is_refused_in_the_words_of_a_step(
    inputs: Any, extra: Any, complaint: str
) -> None:
    runner = BlockRunner(FakeBlock())
    with pytest.raises(RejectedInputError, match=complaint):
        runner.step(inputs, {**initial_carry(runner.contract, 2), **extra})


def test_a_block_comes_opened_as_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trm_runtime.drivers.onnxruntime.OnnxRunner", lambda *_, **__: FakeBlock())
    runner = open_runner(tmp_path / "block.onnx")
    assert isinstance(runner, BlockRunner)
    assert runner.contract.granularity == "step"
