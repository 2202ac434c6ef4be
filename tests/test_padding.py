"""What pads around an ARC answer is not judged, whoever judges it, and a wrong cell always is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from trm_export.artifacts.benchmark import bench
from trm_export.exporters.export import export, format_named
from trm_export.halting.curve import latched
from trm_export.halting.trying import run_all_steps
from trm_export.model import TRM
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import PuzzleSet, get_task, read_puzzles
from trm_export.tasks.arc_grids import encode
from trm_export.training.losses import exact_rows
from trm_export.training.validation import trace
from trm_runtime import Solution, solve
from trm_runtime.judging import UNJUDGED
from trm_runtime.parity import compare, record

Array = np.ndarray[Any, Any]

RIGHT = np.array([True, True, False, True, False, True])
GRIDS = [np.random.default_rng(seed).integers(0, 10, (9, 7)).astype(np.uint8) for seed in range(6)]


@pytest.fixture(scope="module")
def model() -> TRM:
    keras.utils.set_random_seed(1)
    return TRM(
        *(12, 16, 2, 1.0, 900), family="paper", puzzle_emb_len=1, mixer="mlp", pos_encodings="none",
        h_cycles=1, l_cycles=1, l_layers=1, h_layers=1, halt_max_steps=2,
        alphabet=get_task("arc1").alphabet,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reference(model: TRM) -> KerasRunner:
    return KerasRunner(model)


@pytest.fixture(scope="module")
def solution(reference: KerasRunner) -> Solution:
    return solve(reference, np.stack([encode(grid) for grid in GRIDS]))


@pytest.fixture(scope="module")
def puzzles(solution: Solution) -> PuzzleSet:
    """Labels that are the model's answers, but for cells that pad, and a wrong one where not RIGHT.

    A task's label pads with 0, whatever the model wrote there.
    """
    padding = np.random.default_rng(0).random((6, 900)) < 0.4
    padding[:, :5] = False
    labels = np.where(padding, 0, solution.answers).astype(np.int32)
    labels[~RIGHT, 0] = 1 + solution.answers[~RIGHT, 0] % 11
    inputs = np.stack([encode(grid) for grid in GRIDS])
    return PuzzleSet(inputs, labels, np.zeros(6, np.int32), padded=True)


def test_the_answers_differ_from_the_labels_in_padding(
    solution: Solution, puzzles: PuzzleSet
) -> None:
    assert not (solution.answers == puzzles.labels).all(axis=1).any()
    assert puzzles.targets is not None
    assert puzzles.targets.min() == UNJUDGED


def test_evaluate(solution: Solution, puzzles: PuzzleSet) -> None:
    checks = get_task("arc1").check(puzzles.inputs, solution.answers, puzzles.solutions)
    assert checks.exact.tolist() == RIGHT.tolist()
    assert puzzles.exact(solution.answers).tolist() == RIGHT.tolist()
    assert puzzles.exact(solution.answers[1:3], np.array([1, 2])).tolist() == [True, False]


def test_tune(reference: KerasRunner, solution: Solution, puzzles: PuzzleSet) -> None:
    exact = run_all_steps(reference, puzzles).exact
    assert latched(exact, solution.steps).tolist() == RIGHT.tolist()


def test_bench(model: TRM, solution: Solution, puzzles: PuzzleSet, tmp_path: Path) -> None:
    made = export(model, tmp_path / "m.onnx", puzzles, format_named("onnx")).path
    row = bench(made, puzzles.inputs, puzzles.targets, solution)
    assert (row.exact, row.answers_equal) == (RIGHT.mean(), 1.0)


def test_parity_and_golden(reference: KerasRunner, puzzles: PuzzleSet) -> None:
    result = compare(reference, reference, puzzles)
    assert result.accuracy is not None
    assert result.accuracy.reference.exact == result.accuracy.candidate.exact == RIGHT.mean()
    assert result.decisions is not None
    assert result.decisions.settled == RIGHT.sum()
    assert record(reference, puzzles).chunks[0].labels.min() == UNJUDGED


def test_training_and_its_validation(model: TRM, solution: Solution, puzzles: PuzzleSet) -> None:
    exact = trace(model, puzzles).exact
    assert latched(exact, solution.steps).tolist() == RIGHT.tolist()
    logits = np.eye(12, dtype="float32")[solution.answers]
    found = exact_rows(ops.convert_to_tensor(puzzles.solutions), ops.convert_to_tensor(logits))
    assert np.asarray(found).tolist() == RIGHT.tolist()


def test_puzzles_of_a_file_are_judged_alike(tmp_path: Path) -> None:
    labels = np.stack([encode(grid) for grid in GRIDS])
    np.savez(tmp_path / "arc.npz", inputs=labels, labels=labels)
    puzzles = read_puzzles(tmp_path / "arc.npz", get_task("arc1"))
    written = np.where(labels == 0, 5, labels)
    assert puzzles.exact(written).all()
    written[2, 0] = 1
    assert puzzles.exact(written).tolist() == [True, True, False, True, True, True]
    mazes = get_task("maze9").puzzles("test", count=2)
    assert not mazes.padded
