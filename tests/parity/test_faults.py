"""Fault injection: a healthy export passes, every broken one is caught, at the rung it breaks."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from tests.parity.conftest import MIXERS, Exported, Exports, converted
from tests.parity.faults import ATTENTION_ONLY, FAULTS, Fault, change_weight
from trm_export.tasks import PuzzleSet, get_task
from trm_runtime.parity import compare

pytest.importorskip("onnxruntime")

TRAINED = Path(__file__).parents[2] / "artifacts" / "sudoku4.keras"
CASES = [
    (mixer, fault)
    for mixer in MIXERS
    for fault in FAULTS
    if mixer == "attention" or fault not in ATTENTION_ONLY
]


@pytest.fixture(scope="session")
def puzzles() -> PuzzleSet:
    return get_task("sudoku4").puzzles("test", count=10)


def test_a_healthy_export_passes(exported: Exported, puzzles: PuzzleSet) -> None:
    healthy = compare(exported.reference, exported.opened(exported.proto), puzzles)
    assert healthy, healthy.verdict
    assert healthy.rungs[3].status == "ok"
    assert healthy.forced_error < 1e-5
    assert healthy.free[0].tensors["z_H"].all.relative_l2 < 1e-5
    assert all(step.cells_equal > 0.99 for step in healthy.free)


@pytest.mark.parametrize(
    ("exported", "fault"),
    CASES,
    indirect=["exported"],
    ids=[f"{mixer}-{fault.__name__}" for mixer, fault in CASES],
)
def test_a_fault_is_caught(exported: Exported, puzzles: PuzzleSet, fault: Fault) -> None:
    broken = copy.deepcopy(exported.proto)
    broken = fault(exported, broken) or broken
    result = compare(exported.reference, exported.opened(broken), puzzles)
    rung, tensor = FAULTS[fault]
    assert not result
    assert result.broken is not None
    assert result.broken.name == rung
    first = result.first_divergence
    assert (first.tensor if first else None) == tensor


def test_turning_every_position_by_one_more_is_no_fault(
    exports: Exports, puzzles: PuzzleSet
) -> None:
    """Rotary scores depend on differences of positions alone, so parity must not cry wolf."""
    exported = exports("attention")
    moved = copy.deepcopy(exported.proto)
    angles = np.outer(np.arange(1, 18), 10000.0 ** -(np.arange(0, 8, 2) / 8))
    tables = exported.model.inner.L_level.blocks[0].mix.rope
    for table, function in zip(tables, (np.cos, np.sin), strict=True):
        change_weight(moved, table, np.tile(function(angles), 2))
    assert compare(exported.reference, exported.opened(moved), puzzles)


@pytest.mark.skipif(not TRAINED.exists(), reason="artifacts/sudoku4.keras is not there")
def test_a_trained_model_answers_and_halts_the_same(tmp_path: Path) -> None:
    from trm_export.checkpoints.loading import load_model
    from trm_export.step.keras_runner import KerasRunner

    model = load_model(TRAINED)
    reference = KerasRunner(model)
    exported = Exported("", model, reference, converted(model, reference.contract), tmp_path)
    puzzles = get_task("sudoku4").puzzles("test", count=100)
    result = compare(reference, exported.opened(exported.proto), puzzles)
    assert result, result.verdict
    assert result.decisions is not None
    assert result.decisions.settled >= 95
    assert [rung.status for rung in result.rungs[5:]] == ["ok"] * 3
