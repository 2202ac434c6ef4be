"""What every test shares: a quiet, single-purpose environment and one small saved model."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell starts background jobs with SIGINT ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def tiny_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TRM with random weights, saved as Keras saves it; do not write to it."""
    from trm_export import TRM

    path = tmp_path_factory.mktemp("tiny") / "tiny.keras"
    TRM(6, 16, 2, 1.0, 16, family="paper", puzzle_emb_len=1, h_cycles=2, l_cycles=2).save(path)
    return path
