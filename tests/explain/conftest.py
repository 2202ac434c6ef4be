"""One trained model with a layer that eight bits destroy, though it computes what it did."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.model import TRM

HARD = "H_level/block/ffn/down"
LARGER = 1000.0


@pytest.fixture(scope="session")
def hard_model() -> TRM:
    """The 4x4 checkpoint, two channels of its feed-forward layer made equal.

    Their rows of the matrix after it are far larger than the others and cancel, so that little
    changes in float, and the scale of each of its columns becomes too coarse for the other rows.
    """
    model = load_model(shipped_checkpoint("sudoku4"))
    ffn = model.inner.H_level.blocks[0].ffn
    gate_up, down = (np.array(layer.kernel.numpy()) for layer in (ffn.gate_up, ffn.down))
    gate, up = gate_up[:, : ffn.width], gate_up[:, ffn.width :]
    sizes = np.linalg.norm(gate, axis=0) * np.linalg.norm(up, axis=0) * np.linalg.norm(down, axis=1)
    lost, other = np.argsort(sizes)[:2]
    gate[:, lost], up[:, lost] = gate[:, other], up[:, other]
    down[lost] = LARGER * np.abs(down).max()
    down[other] -= down[lost]
    ffn.gate_up.kernel.assign(gate_up)
    ffn.down.kernel.assign(down)
    return model
