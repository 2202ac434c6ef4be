"""What int8 in ONNX takes from real steps, and the document of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

import trm_export as te
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.explain.weights_rung import weights_report
from trm_export.exporters.calibration import RecipeError
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import ExportResult, export, format_named
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.onnx_int8_calibrate import Int8Scales
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.files import CALIBRATION, sidecar
from trm_export.tasks import get_task
from trm_runtime.parity import Puzzles

Known = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared(load_model(shipped_checkpoint("sudoku4")))


@pytest.fixture(scope="module")
def known(shared: Shared) -> Known:
    return weights(shared.model)


def exported(
    shared: Shared, path: Path, choices: Choices, puzzles: Puzzles | None = None
) -> ExportResult:
    puzzles = puzzles or probe_puzzles(shared.model)
    return export(shared.model, path, puzzles, format_named("onnx"), choices, shared=shared)


@pytest.fixture(scope="module")
def document(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("int8") / "m.onnx"
    exported(shared, path, Choices("int8"))
    return sidecar(path, CALIBRATION).read_text()


def test_what_enters_gate_and_up_has_one_scale_and_down_has_channels(
    document: str, known: Known
) -> None:
    found = Int8Scales.from_json(document, known)
    assert found.to_json() == document
    assert {name.rpartition("/")[2] for name in found.grids} == {"gate_up"}
    downs = {name: array for name, array in known.items() if name.endswith("/down")}
    assert found.channels.keys() == downs.keys()
    assert {name: len(scale) for name, scale in found.channels.items()} == {
        name: len(array) for name, array in downs.items()
    }
    assert max(scale.max() / scale.min() for scale in found.channels.values()) > 2
    assert (found.puzzles, found.steps) == (4, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"grids": 3},
        {"grids": [{"tensor": "x"}]},
        {"channels": [{"matrix": "no such", "divided_by": [1.0]}]},
        {"channels": [{"matrix": "H_level/block/ffn/down", "divided_by": [1.0]}]},
        {"channels": None},
        {"engine": None, "channels": [{"matrix": "H_level/block/ffn/down", "divided_by": "many"}]},
    ],
)
def test_a_changed_document_is_refused(document: str, known: Known, change: dict[str, Any]) -> None:
    facts = {**json.loads(document), **change}
    with pytest.raises(RecipeError, match=r"^The calibration document cannot be used"):
        Int8Scales.from_json(json.dumps(facts), known)


@pytest.mark.parametrize(("name", "value"), [("scale", 0.0), ("scale", -1), ("zero_point", 256)])
def test_a_grid_that_no_tensor_has_is_refused(
    document: str, known: Known, name: str, value: float
) -> None:
    facts = json.loads(document)
    facts["grids"][0][name] = value
    with pytest.raises(RecipeError, match="no grid has scale"):
        Int8Scales.from_json(json.dumps(facts), known)


@pytest.mark.parametrize("value", [0, -1, float("nan"), 1e999])
def test_channels_are_divided_by_positive_numbers(
    document: str, known: Known, value: float
) -> None:
    facts = json.loads(document)
    facts["channels"][0]["divided_by"][1] = value
    with pytest.raises(RecipeError, match="channels are not divided by such numbers"):
        Int8Scales.from_json(json.dumps(facts), known)


def test_a_file_is_its_model_by_its_own_document(shared: Shared, tmp_path: Path) -> None:
    """Another recording has other scales, so the puzzles of the export make a difference."""
    path, own = tmp_path / "m.onnx", get_task("sudoku4").puzzles("test", count=3)
    exported(Shared(shared.model), path, Choices("int8"), own)
    assert weights_report(shared, path).status == "ok"
    beside = sidecar(path, CALIBRATION)
    facts = json.loads(beside.read_text())
    facts["grids"][0]["scale"] *= 1.5
    beside.write_text(json.dumps(facts))
    found = weights_report(shared, path)
    assert found.status == "failed"
    assert "in_scale" in found.problems[0]
    beside.unlink()
    found = weights_report(shared, path)
    assert found.status == "failed"
    assert "calibration document m.onnx.calibration.json is not beside it" in found.summary


@pytest.mark.parametrize(
    "choices",
    [
        Choices("int8", recursion="rolled"),
        Choices("int8", granularity="loop"),
        Choices("int8", granularity="block"),
        Choices("int8", ports="int32", batch=3),
    ],
)
def test_every_kind_of_file_takes_the_same_scales(
    shared: Shared, document: str, choices: Choices, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    exported(shared, path, choices)
    assert sidecar(path, CALIBRATION).read_text() == document
    assert weights_report(shared, path).status == "ok"


def test_kept_layers_have_no_grid_in_the_file(shared: Shared, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    exported(shared, path, Choices("int8", keep=("*gate_up",)))
    names = {tensor.name for tensor in onnx.load(str(path)).graph.initializer}
    assert not [name for name in names if name.endswith("/in_scale")]
    assert weights_report(shared, path).status == "ok"


def test_a_matrix_that_one_scale_rounds_too_much_keeps_a_scale_a_row(tmp_path: Path) -> None:
    """With one scale in it too, a recording of 40 puzzles of sudoku9 failed by a row."""
    path = tmp_path / "m.onnx"
    exported(Shared(load_model(shipped_checkpoint("sudoku9"))), path, Choices("int8"))
    grids = json.loads(sidecar(path, CALIBRATION).read_text())["grids"]
    assert "H_level/block_1/ffn/gate_up" not in {grid["tensor"] for grid in grids}
    assert len(grids) == 3


def test_scales_are_of_all_steps_whatever_the_check_looks_at(tmp_path: Path) -> None:
    """With scales of the steps of the check, this model failed parity at step 9."""
    keras.utils.set_random_seed(1)
    model = te.TRM(11, 64, 4, 2.0, 16)
    auto, full = (
        te.export(model, tmp_path / f"{check}.onnx", precision="int8", check=check).path
        for check in ("auto", "full")
    )
    assert auto.read_bytes() == full.read_bytes()
    assert (
        json.loads(sidecar(auto, CALIBRATION).read_text())["steps"] == model.config.halt_max_steps
    )
    assert te.compare(model, auto, count=16).passed
