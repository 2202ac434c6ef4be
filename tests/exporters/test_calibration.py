"""Calibration data: stratified, deterministic, and never a carry that no recursion reaches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters.calibration import (
    HELD_OUT,
    PUZZLES,
    puzzle_tokens,
    rollouts,
    tensor_range,
)
from trm_export.exporters.probe import probe_puzzles
from trm_export.model import TRM
from trm_export.step.keras_runner import KerasRunner
from trm_runtime.contract import StepContract
from trm_runtime.runner import StepOutput


@pytest.fixture(scope="module")
def model() -> TRM:
    return load_model(shipped_checkpoint("sudoku4"))


class Recorder:
    """A runner that remembers every carry it gave back, and halts when told."""

    def __init__(self, model: TRM, halts: int) -> None:
        self._runner, self._halts = KerasRunner(model), halts
        self.contract: StepContract = self._runner.contract
        self.states: list[np.ndarray[Any, Any]] = []

    def step(self, inputs: Mapping[str, Any], carry: Mapping[str, Any]) -> StepOutput:
        found = self._runner.step(inputs, carry)
        halts = carry["current_inputs"][:, 0] % 2 == 1 if self._halts else carry["halted"]
        found.outputs["q_halt_logits"] = np.where(halts & (carry["steps"] > 0), 9, -9)
        self.states.append(found.carry["z_H"])
        return found


def test_every_step_gives_the_same_number_of_real_carries(model: TRM) -> None:
    tokens, _ = puzzle_tokens(model, probe_puzzles(model))
    recorder = Recorder(model, halts=1)
    samples = list(rollouts(recorder, tokens[:12], per_step=4))
    assert [sample.step for sample in samples] == list(range(1, model.config.halt_max_steps + 1))
    assert {len(sample.inputs["inputs"]) for sample in samples} == {4}
    assert samples[0].carry["halted"].all()
    for sample, states in zip(samples[1:], recorder.states, strict=True):
        assert not sample.carry["halted"].any()
        assert (sample.carry["steps"] == sample.step - 1).all()
        assert np.array_equal(sample.carry["current_inputs"], sample.inputs["inputs"])
        for row in sample.carry["z_H"]:
            assert (states == row).all(axis=(1, 2)).any()


def test_rows_that_the_rule_stopped_only_fill_up(model: TRM) -> None:
    tokens, _ = puzzle_tokens(model, probe_puzzles(model))
    odd = int((tokens[:12, 0] % 2 == 1).sum())
    samples = list(rollouts(Recorder(model, halts=1), tokens[:12], per_step=10))
    assert samples[0].stopped == samples[1].stopped == 0
    assert {sample.stopped for sample in samples[2:]} == {max(0, 10 - (12 - odd))}


def test_a_calibration_is_deterministic(model: TRM) -> None:
    tokens, judged = puzzle_tokens(model, probe_puzzles(model))
    assert len(tokens) == PUZZLES
    assert len(judged) == HELD_OUT
    assert not {row.tobytes() for row in tokens} & {row.tobytes() for row in judged}
    again, _ = puzzle_tokens(model, probe_puzzles(model))
    assert np.array_equal(tokens, again)
    runs = [list(rollouts(KerasRunner(model), tokens[:4], per_step=2)) for _ in range(2)]
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one.carry["z_L"], other.carry["z_L"])


def test_a_model_without_a_task_uses_the_given_puzzles() -> None:
    their_model = TRM(7, 16, 2, 1.0, 5)
    given = probe_puzzles(their_model, 9)
    seen, judged = puzzle_tokens(their_model, given)
    assert (len(seen), len(judged)) == (6, 3)
    alone, same = puzzle_tokens(their_model, probe_puzzles(their_model, 1))
    assert len(alone) == len(same) == 1


def test_a_grid_has_a_margin_zero_and_a_remedy_for_long_tails() -> None:
    even = tensor_range("w", -1.0, 1.0, 0.5)
    assert even.zero_point == 128
    assert not even.fine
    assert even.scale * 255 == pytest.approx(2.4)
    assert tensor_range("w", -1.0, 30.0, 0.5).fine
    positive = tensor_range("w", 0.5, 1.0, 0.7)
    assert positive.zero_point == 0
    assert positive.scale * 255 == pytest.approx(1.2)
    assert tensor_range("w", 0.0, 0.0, 0.0).scale > 0
