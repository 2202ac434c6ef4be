"""The same saved models on TensorFlow, JAX and PyTorch, each in its own process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import oracle
from tests.model.variants import VARIANTS, errors, random_model, random_step, run

TOLERANCE = 1e-5
CHOSEN = {"mixer": "paper mlp mixer", "puzzle": "paper rope + puzzle embedding"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with models and inputs, and by ``model/tensor`` (this process's, the oracle's)."""
    folder, wanted = tmp_path_factory.mktemp("backends"), {}
    for stem, name in CHOSEN.items():
        model = random_model(VARIANTS[name])
        carry, batch = random_step(model)
        model.save(folder / f"{stem}.keras")
        given = {f"carry/{k}": v for k, v in carry.items()}
        np.savez(folder / f"{stem}.npz", **given, **{f"batch/{k}": v for k, v in batch.items()})
        weights = oracle.extract_weights(model)
        new, outputs = oracle.step(model.config.to_dict(), weights, carry, batch)
        here_new, here_outputs = run(model, carry, batch)
        here, truth = here_new | here_outputs, new | outputs
        wanted.update({f"{stem}/{key}": (here[key], truth[key]) for key in truth})
        if stem == "mixer":
            wanted[f"{stem}/rolled_logits"] = here["logits"], truth["logits"]
    return folder, wanted


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_every_backend_gives_the_same_step(
    backend: str, saved: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"the {backend} backend is not installed")
    folder, wanted = saved
    result = tmp_path / "result.npz"
    worker = [sys.executable, str(Path(__file__).with_name("backend_worker.py"))]
    done = subprocess.run(
        [*worker, str(folder), str(result)], capture_output=True, text=True, timeout=300,
        env={
            **os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(filter(None, (
                str(ROOT), str(ROOT / "runtimes"), os.environ.get("PYTHONPATH")))),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = dict(np.load(result))
    assert str(found.pop("backend")) == backend
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        for value in values:
            assert max(errors(found[name], value)) <= TOLERANCE, name
