"""A few steps of one puzzle and one slot: what they show, and what they catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import trm_export as te
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import UsageError
from trm_export.exporters import shared as shared_module
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_runtime import StepOutput, StepRunner, initial_carry, open_runner
from trm_runtime.parity import check

Change = Callable[[Any, Any, Any], Any]  # runner, inputs, carry -> output


@pytest.fixture(scope="module")
def sudoku4() -> Any:
    return load_model(shipped_checkpoint("sudoku4"))


@pytest.fixture(scope="module")
def shared(sudoku4: Any) -> Shared:
    return Shared(sudoku4)


@dataclass
class Faulty:
    """A runner whose step is changed."""

    whole: StepRunner
    change: Change

    @property
    def contract(self) -> Any:
        return self.whole.contract

    def step(self, inputs: Any, carry: Any) -> StepOutput:
        output: StepOutput = self.change(self.whole, inputs, carry)
        return output


def _never_ends(runner: Any, inputs: Any, carry: Any) -> Any:
    output = runner.step(inputs, carry)
    return replace(output, carry={**output.carry, "halted": np.zeros_like(carry["halted"])})


def _keeps_old_state(runner: Any, inputs: Any, carry: Any) -> Any:
    """No reset after the first step."""
    first = not carry["current_inputs"].any()
    kept = carry if first else {**carry, "halted": np.zeros_like(carry["halted"])}
    return runner.step(inputs, kept)


def _multiplies_by_mask(runner: Any, inputs: Any, carry: Any) -> Any:
    """A reset by arithmetic, which lets NaN through."""
    output = runner.step(inputs, carry)
    leak = np.where(np.isnan(carry["z_H"]), np.nan, 0).astype(np.float32)
    return replace(output, carry={**output.carry, "z_H": output.carry["z_H"] + leak})


def _follows_new_inputs(runner: Any, inputs: Any, carry: Any) -> Any:
    return runner.step(inputs, {**carry, "current_inputs": inputs["inputs"]})


def _forgets_state(runner: Any, inputs: Any, carry: Any) -> Any:
    start = initial_carry(runner.contract, len(carry["halted"]))
    going_on = {name: start[name] for name in ("z_H", "z_L")}
    return runner.step(inputs, carry if carry["halted"].all() else {**carry, **going_on})


def test_a_correct_runner_passes(shared: Shared, tmp_path: Any) -> None:
    puzzles = probe_puzzles(shared.model)
    golden = shared.few_golden(puzzles)
    result = check(golden, shared.runner, steps_only=True)
    assert result.verdict == (
        "PASSED: steps 1, 2 and 8 of 1 puzzle and of 1 refilled slot are within the gates."
    )
    assert {error.step for error in result.forced} == {1, 2, 8}


@pytest.mark.parametrize(
    "change",
    [_never_ends, _keeps_old_state, _multiplies_by_mask, _follows_new_inputs, _forgets_state],
)
def test_faults_of_a_step_are_caught(shared: Shared, change: Change) -> None:
    golden = shared.few_golden(probe_puzzles(shared.model))
    assert not check(golden, Faulty(shared.runner, change), steps_only=True).passed


@pytest.mark.parametrize("granularity", ["step", "loop"])
def test_exports_of_big_models_are_checked_at_few_steps(
    sudoku4: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, granularity: str
) -> None:
    monkeypatch.setattr(shared_module, "FEW_FROM", 0)
    file = tmp_path / "a.onnx"
    result = te.export(sudoku4, file, granularity=granularity)
    assert "1 puzzle" in result.verdict
    assert result.verdict.endswith("--check full compares every step.")
    assert te.compare(sudoku4, [file], count=4, weights=True).passed
    whole = te.export(sudoku4, file, granularity=granularity, check="full")
    assert "6 puzzles" in whole.verdict
    assert open_runner(file).contract.granularity == granularity


def test_exports_are_checked_at_the_first_steps_and_the_last(tmp_path: Any) -> None:
    maze9, file = load_model(shipped_checkpoint("maze9")), tmp_path / "a.onnx"
    result = te.export(maze9, file)
    assert result.verdict == (
        "PASSED: steps 1 to 4 and 16 of 6 puzzles and of 6 refilled slots are within "
        "the gates. --check full compares every step."
    )
    assert te.compare(maze9, [file], count=4, weights=True).passed
    assert "full" not in te.export(maze9, file, granularity="loop").verdict
    whole = te.export(maze9, file, check="full")
    assert whole.verdict == "PASSED: every single step of 6 puzzles is within the gates."


def test_faults_of_a_later_step_are_caught_by_a_full_check(shared: Shared) -> None:
    puzzles, contract = probe_puzzles(shared.model), shared.runner.contract

    def late(runner: Any, inputs: Any, carry: Any) -> Any:
        output = runner.step(inputs, carry)
        wrong = (carry["steps"] == contract.max_steps - 2) & ~carry["halted"]
        z_H = output.carry["z_H"] + wrong[:, None, None].astype(np.float32)
        return replace(output, carry={**output.carry, "z_H": z_H})

    late_runner = Faulty(shared.runner, late)
    assert check(shared.golden(puzzles, 5), late_runner, steps_only=True).passed
    assert not check(shared.golden(puzzles), late_runner, steps_only=True).passed


@pytest.mark.parametrize(
    "change",
    [_never_ends, _keeps_old_state, _multiplies_by_mask, _follows_new_inputs, _forgets_state],
)
def test_faults_of_a_step_are_caught_at_some_steps(shared: Shared, change: Change) -> None:
    golden = shared.golden(probe_puzzles(shared.model), 5)
    assert not check(golden, Faulty(shared.runner, change), steps_only=True).passed


def test_an_unknown_check_is_refused(sudoku4: Any, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="must be auto or full, got 'quick'"):
        te.export(sudoku4, tmp_path / "a.onnx", check="quick")


def test_only_big_models_are_big() -> None:
    from trm_export.model.presets import preset
    from trm_export.step.step_model import adapt

    small, big = (adapt(te.TRM(**preset(name))) for name in ("sudoku9", "paper-sudoku-mlp"))
    assert small.multiplications < shared_module.FEW_FROM < big.multiplications
