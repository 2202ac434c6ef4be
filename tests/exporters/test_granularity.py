"""The whole loop in one graph, and one pass a graph: what they decide is what the steps decide."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import ParityError, UsageError
from trm_export.exporters.choices import FORMATS, Choices
from trm_export.exporters.export import export, format_named
from trm_export.exporters.probe import probe_puzzles
from trm_export.model import TRM
from trm_export.step import signature
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import PuzzleSet
from trm_runtime import HaltRule, StepContract, open_runner, solve
from trm_runtime.parity import compare


@pytest.fixture(scope="module")
def thoughtful() -> TRM:
    """The shipped 4x4 model, trained, with a threshold that takes some thinking."""
    model = load_model(shipped_checkpoint("sudoku4"))
    tuned = TRM.from_config({**model.get_config(), "halt_threshold": 8.0})
    tuned.set_weights(model.get_weights())
    return tuned


@pytest.fixture(scope="module")
def nonsense() -> PuzzleSet:
    """Boards without rhyme or reason: the 4x4 model thinks 1 to 8 steps about them."""
    tokens = np.random.default_rng(0).integers(1, 6, (50, 16), dtype=np.int32)
    return PuzzleSet(tokens, None, np.zeros(50, np.int32))


@pytest.mark.parametrize(
    ("kind", "granularity", "batch"),
    [
        *((kind, "block", None) for kind in FORMATS),
        *((kind, "loop", "free") for kind in FORMATS),
        ("onnx", "loop", 7),
    ],
)
def test_other_granularities_decide_as_the_driver_does(
    kind: str,
    granularity: str,
    batch: Any,
    thoughtful: TRM,
    nonsense: PuzzleSet,
    tmp_path: Path,
) -> None:
    target = tmp_path / f"m{format_named(kind).suffix}"
    choices = Choices(granularity=granularity, batch=batch)
    made = export(thoughtful, target, probe_puzzles(thoughtful), format_named(kind), choices)
    expected = solve(KerasRunner(thoughtful), nonsense.inputs)
    assert len(np.unique(expected.steps)) > 4
    assert {"halted", "max_steps"} == set(expected.stop_reasons)
    runner = open_runner(made.path)
    found = solve(runner, nonsense.inputs)
    np.testing.assert_array_equal(found.answers, expected.answers)
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_allclose(found.q_halt, expected.q_halt, atol=1e-3)
    assert found.stop_reasons == expected.stop_reasons
    result = compare(KerasRunner(thoughtful), runner, nonsense)
    assert result, result.verdict
    assert result.decisions is not None
    assert result.decisions.settled > 30
    assert bool(result.forced) == (granularity == "block")


def test_a_loop_that_halts_elsewhere_is_not_left_behind(
    thoughtful: TRM, nonsense: PuzzleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubborn(model: Any, contract: StepContract, rolled: bool) -> Any:
        later = HaltRule(threshold=contract.halt.threshold + 2)
        return own(model, dataclasses.replace(contract, halt=later), rolled)

    own = signature._loop_function
    monkeypatch.setattr(signature, "_loop_function", stubborn)
    kind, choices = format_named("saved-model"), Choices(granularity="loop")
    with pytest.raises(ParityError, match=r"was not written: FAILED at halting steps"):
        export(thoughtful, tmp_path / "m", nonsense, kind, choices)
    assert list(tmp_path.iterdir()) == []


def test_a_block_needs_one_shared_stack(tmp_path: Path) -> None:
    model = TRM(6, 16, 2, 1.0, 16)
    kind, choices = format_named("onnx"), Choices(granularity="block")
    with pytest.raises(UsageError, match="one shared stack, and the seed family has two"):
        export(model, tmp_path / "m.onnx", probe_puzzles(model), kind, choices)
