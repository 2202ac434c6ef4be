"""ONNX in fewer bits: what lies in the file, what it computes, and that every kind can be had."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoint import load_model
from trm_export.errors import UsageError
from trm_export.export.export import Choices, ExportResult, export, format_named, plan
from trm_export.export.probe import probe_puzzles
from trm_export.model import TRM
from trm_export.onnx_file import inspect_onnx
from trm_export.parity.gates import GATES
from trm_export.shipped import shipped_checkpoint
from trm_runtime.drivers.onnx import OnnxRunner

MATRICES = 17 * 512 + 256 * 17 + 32 * 512 + 256 * 32  # weights of the only block of sudoku4
HEADS = 32 * 6 + 32 * 2


@pytest.fixture(scope="module")
def sudoku4() -> TRM:
    return load_model(shipped_checkpoint("sudoku4"))


def exported(
    model: TRM, path: Path, precision: str, granularity: str, rolled: bool
) -> ExportResult:
    choices = Choices(
        precision, granularity=granularity, recursion="rolled" if rolled else "unrolled"
    )
    return export(model, path, probe_puzzles(model, 8), format_named("onnx"), choices)


@pytest.mark.parametrize("granularity", ["step", "loop", "block"])
@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-static"])
def test_the_file_holds_small_weights_and_passes_its_gate(
    sudoku4: TRM, precision: str, granularity: str, tmp_path: Path
) -> None:
    rolled = granularity == "step" and precision != "fp16"
    result = exported(sudoku4, tmp_path / "m.onnx", precision, granularity, rolled)
    assert not result.verdict.startswith("FAILED")
    info = inspect_onnx(result.path)
    assert info.contract == result.contract
    assert info.contract is not None
    assert info.contract.precision == precision
    assert not info.contract_problems
    assert info.sidecar == "same"
    assert info.ir_version <= 10
    assert ("Loop" in info.nodes) == (rolled or granularity == "loop")
    stored = info.weight_bytes
    if precision == "fp16":
        assert stored["float16"] >= 2 * MATRICES
        assert stored["float32"] < 4 * 1000
    else:
        assert MATRICES <= stored["int8"] < MATRICES + 2000  # zero points
        assert stored["float32"] < 4 * (HEADS + 2500)  # heads, embeddings, start states, scales
        assert info.nodes["DequantizeLinear"] >= 4
    assert OnnxRunner(result.path).contract == result.contract


@pytest.mark.parametrize("precision", ["int8", "int8-static"])
def test_an_unrolled_recursion_shares_its_8_bit_weights(
    sudoku4: TRM, precision: str, tmp_path: Path
) -> None:
    result = exported(sudoku4, tmp_path / "m.onnx", precision, "step", False)
    info = inspect_onnx(result.path)
    assert "Loop" not in info.nodes
    assert MATRICES <= info.weight_bytes["int8"] < MATRICES + 2000
    assert info.nodes["QuantizeLinear"] >= 4 * sudoku4.config.passes
    assert GATES[precision].cosine is not None


def test_a_calibration_is_told_beside_the_file(sudoku4: TRM, tmp_path: Path) -> None:
    result = exported(sudoku4, tmp_path / "m.onnx", "int8-static", "block", False)
    (document,) = result.documents
    assert document.name == "m.onnx.calibration.json"
    told = json.loads(document.read_text(encoding="utf-8"))
    assert told["puzzles"] >= 64
    assert set(told["samples_per_step"]) == {16}
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
