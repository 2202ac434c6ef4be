"""PyTorch -> import -> Keras -> ONNX and TFLite: two steps of every variant agree.

What PyTorch computed is recorded (`make_golden.py`), so that these tests need none; where it is
installed, the records themselves are made again.
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.importing.golden import FLOATS, GOLDEN, TOLERANCE, checkpoint, errors, recorded
from tests.importing.variants import STEPS, VARIANTS

EXPORTED = ("mixer", "mixer_plain", "rope", "rope_plain", "learned")
"""The other two add nothing that an exporter could see."""


@functools.cache
def imported(name: str) -> tuple[Any, Any]:
    """The Keras model of a variant, and what its exports share."""
    from trm_export.exporters.shared import Shared
    from trm_export.importing import import_checkpoint

    model, _ = import_checkpoint(checkpoint(name))
    return model, Shared(model)


def agrees(found: dict[str, float]) -> None:
    assert set(found) == {f"{step}.{name}" for step in range(1, STEPS + 1) for name in FLOATS}
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("name", VARIANTS)
def test_keras_computes_what_pytorch_computed(name: str) -> None:
    agrees(errors(imported(name)[1].runner, recorded(name)))


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("name", EXPORTED)
def test_exports_compute_what_pytorch_computed(name: str, kind: str, tmp_path: Path) -> None:
    from trm_export.exporters.export import export, format_named
    from trm_export.exporters.probe import probe_puzzles
    from trm_runtime import open_runner

    model, shared = imported(name)
    path, puzzles = tmp_path / f"m.{kind}", probe_puzzles(model, 2)
    made = export(model, path, puzzles, format_named(kind), shared=shared)
    agrees(errors(open_runner(made.path), recorded(name)))


BLOCK = "model.inner.L_level.layers.0."
MISPLACED: dict[str, tuple[str, Any]] = {
    "o_proj transposed": (f"{BLOCK}self_attn.o_proj.weight", lambda a: a.T.copy()),
    "gate for up": (f"{BLOCK}mlp.gate_up_proj.weight", lambda a: np.roll(a, len(a) // 2, axis=0)),
    "identifiers off by one": ("model.inner.puzzle_emb.weights", lambda a: np.roll(a, 1, axis=0)),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_a_tensor_in_the_wrong_place_would_show(name: str, tmp_path: Path) -> None:
    from trm_export.importing import import_checkpoint
    from trm_export.step.keras_runner import KerasRunner

    folder = shutil.copytree(GOLDEN / "rope", tmp_path / "rope")
    tensors, (key, change) = load_file(checkpoint("rope")), MISPLACED[name]
    save_file({**tensors, key: change(tensors[key])}, folder / "step_10.safetensors")
    model, _ = import_checkpoint(folder / "step_10.safetensors")
    assert max(errors(KerasRunner(model), recorded("rope")).values()) > 0.1


@pytest.mark.parametrize("name", VARIANTS)
def test_the_records_are_what_pytorch_computes(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from tests.importing.official import Official

    variant, golden = VARIANTS[name], recorded(name)
    network = Official(variant.arch, variant.sizes, seed=list(VARIANTS).index(name))
    tokens, identifiers = (
        torch.from_numpy(golden[key]) for key in ("inputs", "puzzle_identifiers")
    )
    for step, found in enumerate(network.rollout(tokens, identifiers, STEPS), start=1):
        for key, values in found.items():
            np.testing.assert_allclose(
                values.numpy(), golden[f"{step}.{key}"], rtol=1e-4, atol=1e-5, err_msg=key
            )
