"""The float64 control, on every backend that is here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

CODE = """
import json
import numpy as np
from trm_export.checkpoint import load_model
from trm_export.parity.control import float64_runner
from trm_export.reference import KerasRunner
from trm_export.shipped import shipped_checkpoint
from trm_export.tasks import get_task
from trm_runtime.runner import initial_carry

model = load_model(shipped_checkpoint("sudoku4"))
runners = KerasRunner(model), float64_runner(model)
puzzles = get_task("sudoku4").puzzles("test", count=4).inputs
found = [r.step({"inputs": puzzles}, initial_carry(r.contract, 4)) for r in runners]
print(json.dumps({
    "dtypes": sorted({str(array.dtype) for array in found[1].carry.values()}),
    "error": float(np.abs(found[0].carry["z_H"] - found[1].carry["z_H"]).max()),
}))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_control_is_another_computation_of_the_same_weights(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:keras", "-c", CODE],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["dtypes"] == ["bool", "float32", "int32"]
    assert 1e-8 < found["error"] < 1e-4
