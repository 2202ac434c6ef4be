"""The float64 control, on every backend that is here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CODE = """
import json
import numpy as np
from trm_export.api.frameworks import load_keras
from trm_runtime.lean_import import own_process
own_process()
load_keras(any_backend=True)
from trm_export.checkpoints.loading import load_model
from trm_export.parity.control import float64_runner
from trm_export.step.keras_runner import KerasRunner
from trm_export.checkpoints.shipped import shipped_checkpoint
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


def without_control() -> Any:
    """A model that casts to float32 in the middle of a step."""
    from tests.third_party.oddities import Tuned
    from trm_export.step.step_model import adapt

    model = Tuned()
    batch = {"inputs": np.zeros((2, 9), "int32")}
    model(model.initial_carry(batch), batch)
    return adapt(model)


def test_a_model_that_mixes_precisions_has_no_control() -> None:
    from trm_export.errors import NoControlError
    from trm_export.parity.control import float64_runner

    with pytest.raises(NoControlError, match="Tuned cannot be computed in float64: ") as caught:
        float64_runner(without_control())
    assert "\n" not in str(caught.value)


def test_a_recording_goes_on_without_one_and_says_why(tmp_path: Path) -> None:
    from trm_export.errors import NoControlError
    from trm_export.parity.recording import record_file
    from trm_export.tasks import PuzzleSet
    from trm_runtime.parity import GoldenOrigin

    model, path = without_control(), tmp_path / "g.npz"
    puzzles = PuzzleSet(np.ones((3, 9), "int32"), None, np.zeros(3, "int32"))
    about = GoldenOrigin("puzzles", None, {"model": "m.keras"})
    golden = record_file(model, puzzles, path, about, control=None)
    assert golden.about.control is None
    assert golden.about.provenance["model"] == "m.keras"
    assert "Tuned cannot be computed in float64" in golden.about.provenance["no_control"]
    kept = path.read_bytes()
    record_file(model, puzzles, path, about, control=None)
    assert path.read_bytes() == kept
    unasked = record_file(model, puzzles, path, about, control=False)
    assert unasked.about.provenance == about.provenance
    with pytest.raises(NoControlError, match=r"float64.*; drop --control, or pass --no-control\.$"):
        record_file(model, puzzles, tmp_path / "other.npz", about, control=True)
    assert not (tmp_path / "other.npz").exists()
