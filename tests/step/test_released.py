"""What a model leaves in the process when it is gone."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint


def graphs() -> int:
    """Graphs of TensorFlow that are alive."""
    gc.collect()
    return sum(type(one).__name__ == "FuncGraph" for one in gc.get_objects())


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite", "m_saved_model"])
def test_an_export_and_a_comparison_leave_no_graph(name: str, tmp_path: Path) -> None:
    alive = graphs()
    for _ in range(2):
        model = te.load(shipped_checkpoint("sudoku4"))
        weight = model.trainable_variables[0]
        weight.assign(weight + np.random.default_rng(0).normal(0, 1e-5, weight.shape))
        te.export(model, tmp_path / name, force=True)
        te.compare(model, tmp_path / name, count=2)
        del model, weight
    assert graphs() == alive
