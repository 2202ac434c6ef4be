"""Four bits in ONNX: what is stored, what an engine makes of it, and who does not have them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.artifacts.onnx_info import inspect_onnx
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import UsageError
from trm_export.explain.weights_rung import weights_report
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import ExportResult, export, format_named, plan
from trm_export.exporters.onnx_convert import OPSET
from trm_export.exporters.onnx_int4 import BLOCK, four_bits, in_blocks, unpacked
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.stored.fits import Stored, fit
from trm_runtime.drivers.onnxruntime import OnnxRunner

MATRICES = 18 * 512 + 256 * 17 + 32 * 512 + 256 * 32
"""Weights of the only block of sudoku4; 17 inputs take the place of 18."""


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared(load_model(shipped_checkpoint("sudoku4")))


def exported(shared: Shared, path: Path, choices: Choices) -> ExportResult:
    puzzles = probe_puzzles(shared.model)
    return export(shared.model, path, puzzles, format_named("onnx"), choices, shared=shared)


def matrix(rows: int, columns: int, seed: int = 7) -> np.ndarray:
    """Columns and blocks of different sizes, a column and a block of zeros."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, columns)) * np.exp(draw.normal(size=columns))
    values[:, 1] = 0
    values[BLOCK : 2 * BLOCK, 2] = 0
    return values.astype(np.float32)


@pytest.mark.parametrize("rows", [17, 32, 82, 128])
def test_integers_fit_eight_bits_and_the_error_is_below_that_of_one_scale_a_column(
    rows: int,
) -> None:
    values = matrix(rows, 24)
    found = four_bits(values)
    assert found.packed.dtype == np.uint8
    assert rows / 2 <= found.packed[:, :, 0].size < rows / 2 + 2
    assert 2 * found.packed.shape[1] <= BLOCK
    assert -8 <= found.codes.min() <= found.codes.max() <= 7
    assert np.abs(found.codes.astype(int) * found.factors).max() <= 64
    codes, scale = unpacked(found.packed, found.factors, found.scale, values.size)
    np.testing.assert_array_equal(codes, found.codes.reshape(-1, 24)[:rows])
    real = codes * scale
    assert not real[:, 1].any()
    naive = np.abs(values).max(axis=0) / 7 + 1e-30
    error = np.linalg.norm(real - values)
    assert error < 0.95 * np.linalg.norm(np.rint(values / naive) * naive - values)


def test_the_rows_of_a_matrix_are_in_blocks() -> None:
    values = matrix(40, 3)
    blocks = in_blocks(values)
    np.testing.assert_array_equal(blocks.reshape(-1, 3)[:40], values)
    assert not blocks.reshape(-1, 3)[40:].any()


@pytest.mark.parametrize(
    ("granularity", "recursion", "loops"),
    [
        ("step", None, True),
        ("step", "unrolled", False),
        ("loop", None, True),
        ("block", None, False),
    ],
)
def test_the_file_holds_half_a_byte_a_weight_and_passes_its_gate(
    shared: Shared, granularity: str, recursion: str | None, loops: bool, tmp_path: Path
) -> None:
    choices = Choices("int4", granularity=granularity, recursion=recursion)
    result = exported(shared, tmp_path / "m.onnx", choices)
    assert not result.verdict.startswith("FAILED")
    info = inspect_onnx(result.path)
    assert info
    assert info.contract == result.contract == OnnxRunner(result.path).contract
    assert result.contract.precision == "int4"
    assert info.opsets == {"": OPSET}  # no operators of one engine
    assert ("Loop" in info.nodes) == loops
    assert MATRICES / 2 <= info.weight_bytes["uint8"] < MATRICES / 2 + 100
    assert info.weight_bytes["int8"] < MATRICES / BLOCK + 2000  # factors and zero points
    assert info.weight_bytes["float32"] < 4 * 3000
    report = weights_report(shared, result.path)
    assert report.status == "ok"
    assert {one.dtype for one in report.weights} == {"int4", "float32"}
    assert max(one.steps or 0.0 for one in report.weights) < 0.501


def test_a_file_in_int4_has_half_the_bytes_of_the_weights_of_int8(
    shared: Shared, tmp_path: Path
) -> None:
    four, eight = (
        exported(shared, tmp_path / f"{one}.onnx", Choices(one, recursion="rolled"))
        for one in ("int4", "int8")
    )
    assert eight.bytes - four.bytes > 0.35 * MATRICES


def test_kept_layers_are_in_float_and_the_file_is_its_model(shared: Shared, tmp_path: Path) -> None:
    result = exported(shared, tmp_path / "m.onnx", Choices("int4", keep=("*down",)))
    assert result.kept == ("H_level/block/ffn/down", "H_level/block/mix/swiglu/down")
    stored = inspect_onnx(result.path).weight_bytes
    assert stored["float32"] > 4 * 256 * (17 + 32)
    assert weights_report(shared, result.path).status == "ok"


def test_values_beyond_the_grid_are_its_ends_but_not_those_of_another_scale() -> None:
    scale = np.full((3, 1), 0.5)
    stored = Stored("w/int4", np.array([[7], [-8], [3]], np.int8), scale, four_bits=True)
    assert fit("w", np.array([[4.1], [-4.4], [1.6]]), stored).problem is None
    problem = fit("w", np.array([[9.1], [-4.4], [1.6]]), stored).problem
    assert problem == "off by 11.2 steps, worst at [0][0]"
    assert fit("w", np.array([[4.1], [-4.4], [1.1]]), stored).steps == pytest.approx(0.8)


@pytest.mark.parametrize("kind", ["tflite", "saved-model"])
def test_other_formats_refuse(shared: Shared, kind: str) -> None:
    with pytest.raises(UsageError, match=f"^{kind}: int4 is not supported for .*use onnx"):
        plan(shared.model, probe_puzzles(shared.model), format_named(kind), Choices("int4"), shared)


def test_a_command_writes_it_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.commands.support.app import run

    model = shipped_checkpoint("sudoku4")
    monkeypatch.chdir(tmp_path)
    options = ["--precision", "int4", "--auto-keep", "40", "--auto-keep-count", "8"]
    assert run(["onnx", str(model), *options, "-o", "sudoku4-int4.onnx"]) == 0
    assert "in float.\n" in capsys.readouterr().out
    assert OnnxRunner(tmp_path / "sudoku4-int4.onnx").contract.precision == "int4"
