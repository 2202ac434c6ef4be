"""ONNX in fewer bits: what lies in the file, what it computes, and that every kind can be had."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from trm_export.artifacts.onnx_info import inspect_onnx
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import UsageError
from trm_export.exporters import onnx as exporter
from trm_export.exporters.calibration import PER_STEP, PUZZLES, Calibration
from trm_export.exporters.export import Choices, ExportResult, export, format_named, plan
from trm_export.exporters.onnx_calibrate import calibrate
from trm_export.exporters.onnx_convert import OPSET
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.model import TRM
from trm_runtime.drivers.onnxruntime import OnnxRunner
from trm_runtime.parity.gates import GATES

MATRICES = 17 * 512 + 256 * 17 + 32 * 512 + 256 * 32  # weights of the only block of sudoku4
HEADS = 32 * 6 + 32 * 2


@pytest.fixture(scope="module")
def sudoku4() -> TRM:
    return load_model(shipped_checkpoint("sudoku4"))


@pytest.fixture(scope="module")
def shared(sudoku4: TRM) -> Shared:
    return Shared(sudoku4)


@pytest.fixture(scope="module")
def calibration(sudoku4: TRM, shared: Shared) -> Calibration:
    return calibrate(plan(sudoku4, probe_puzzles(sudoku4), format_named("onnx"), shared=shared))


def exported(
    model: TRM, shared: Shared, path: Path, precision: str, granularity: str, rolled: bool
) -> ExportResult:
    recursion = "rolled" if rolled else "unrolled"
    choices = Choices(precision, granularity=granularity, recursion=recursion)
    puzzles = probe_puzzles(model)
    return export(model, path, puzzles, format_named("onnx"), choices, shared=shared)


@pytest.mark.parametrize(
    ("precision", "granularity", "rolled"),
    [
        ("fp16", "step", False),
        ("fp16", "loop", True),
        ("fp16", "block", False),
        ("int8", "step", False),
        ("int8", "step", True),
        ("int8", "loop", False),
        ("int8", "block", False),
        ("int8-static", "step", False),
        ("int8-static", "step", True),
        ("int8-static", "loop", False),
    ],
)
def test_the_file_holds_small_weights_and_passes_its_gate(
    sudoku4: TRM,
    shared: Shared,
    calibration: Calibration,
    precision: str,
    granularity: str,
    rolled: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporter, "calibrate", lambda job: calibration)
    result = exported(sudoku4, shared, tmp_path / "m.onnx", precision, granularity, rolled)
    assert not result.verdict.startswith("FAILED")
    info = inspect_onnx(result.path)
    assert info.contract is not None
    assert info.contract == result.contract == OnnxRunner(result.path).contract
    assert info.contract.precision == precision
    assert not info.contract_problems
    assert info.sidecar == "same"
    assert info.ir_version <= 10
    assert info.opsets == {"": OPSET}
    assert ("Loop" in info.nodes) == (rolled or granularity == "loop")
    stored = info.weight_bytes
    if precision == "fp16":
        assert stored["float16"] >= 2 * MATRICES
        assert stored["float32"] < 4 * 1000  # small weights and constants
    else:
        assert MATRICES <= stored["int8"] < MATRICES + 2000  # each once, with its zero points
        assert stored["float32"] < 4 * (HEADS + 2500)  # heads, embeddings, start states, scales
        passes = 1 if rolled or granularity == "block" else sudoku4.config.passes
        assert info.nodes["QuantizeLinear"] >= 4 * passes


def test_a_calibration_is_told_beside_the_file(
    sudoku4: TRM, shared: Shared, tmp_path: Path
) -> None:
    result = exported(sudoku4, shared, tmp_path / "m.onnx", "int8-static", "block", False)
    document = result.documents[0]
    assert document.name == "m.onnx.calibration.json"
    told = json.loads(document.read_text(encoding="utf-8"))
    assert told["puzzles"] == PUZZLES
    assert set(told["samples_per_step"]) == {PER_STEP}
    assert len(told["samples_per_step"]) == sudoku4.config.halt_max_steps
    assert len(told["tensors"]) == 4
    limit = GATES["int8-static"].carry_clipping
    assert limit is not None
    for tensor in told["tensors"]:
        assert tensor["low"] < 0 < tensor["high"]
        assert max(tensor["clipping"]) <= limit


def test_a_model_in_half_precision_is_refused() -> None:
    model = TRM(6, 16, 2, 1.0, 16, dtype="mixed_bfloat16")
    with pytest.raises(UsageError, match="the model computes in bfloat16"):
        plan(model, probe_puzzles(model, 2), format_named("onnx"), Choices(precision="int8"))


@pytest.mark.parametrize("options", [{"puzzle_emb_len": 1}, {"ffn_type": "mlp", "h_cycles": 2}])
def test_attention_and_separate_stacks_are_quantised_too(
    options: dict[str, Any], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(5)
    model = TRM(6, 16, 2, 1.0, 16, halt_max_steps=2, **options)
    result = export(
        model, tmp_path / "m.onnx", probe_puzzles(model), format_named("onnx"), Choices("int8")
    )
    c = model.config
    feed_forward = 2 * 16 * 16 if c.ffn_type == "mlp" else 3 * 16 * 256
    matrices = (c.l_layers + c.h_layers) * (4 * 16 * 16 + feed_forward)
    stored = inspect_onnx(result.path).weight_bytes
    assert matrices <= stored["int8"] < 1.3 * matrices + 2000
