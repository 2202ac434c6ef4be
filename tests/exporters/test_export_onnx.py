"""The ONNX exporter: names, contract, limits, and what it leaves behind when it fails."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import OverwriteError, ParityError, UsageError
from trm_export.exporters import onnx as exporter
from trm_export.exporters.export import Choices, ExportResult, export, format_named, plan
from trm_export.exporters.format import Documents, Job
from trm_export.exporters.onnx_convert import OPSET, converted, weight_names
from trm_export.exporters.probe import probe_puzzles
from trm_export.model import TRM
from trm_export.step.signature import contract_for, incoming
from trm_export.tasks import find_task
from trm_runtime.contract import METADATA_KEY, StepContract
from trm_runtime.drivers.onnxruntime import OnnxRunner

PAPER = {"family": "paper", "halt_max_steps": 3, "h_cycles": 2, "l_cycles": 1, "l_layers": 1,
         "h_layers": 1}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {**PAPER, "mixer": "mlp", "pos_encodings": "none", "puzzle_emb_len": 1},
    "identifiers": {
        **PAPER, "puzzle_emb_len": 2, "puzzle_emb_ndim": 20, "num_puzzle_identifiers": 3,
    },
    "seed": {"halt_max_steps": 3, "no_act_continue": False, "puzzle_emb_len": 1},
}  # fmt: skip


def export_onnx(
    model: TRM, path: Path, *, batch: int | None = None, recursion: str = "unrolled"
) -> ExportResult:
    choices = Choices(batch=batch, recursion=recursion)
    return export(model, path, probe_puzzles(model), format_named("onnx"), choices)


def built(kind: str) -> TRM:
    import keras

    keras.utils.set_random_seed(5)
    return TRM(6, 16, 2, 1.0, 16, **MODELS[kind])


@pytest.mark.parametrize(
    ("kind", "recursion", "batch"),
    [
        ("mlp", "unrolled", None),
        ("mlp", "rolled", 2),
        ("identifiers", "rolled", None),
        ("seed", "unrolled", 4),
    ],
)
def test_export_is_what_its_contract_says(
    kind: str, recursion: str, batch: int | None, tmp_path: Path
) -> None:
    import onnx

    model = built(kind)
    result = export_onnx(model, tmp_path / "m.onnx", batch=batch, recursion=recursion)
    assert result.forced_error < 1e-4
    proto = onnx.load(result.path)
    assert proto.ir_version <= 10
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == OPSET
    embedded = {entry.key: entry.value for entry in proto.metadata_props}[METADATA_KEY]
    assert embedded == result.sidecar.read_text(encoding="utf-8")
    contract = StepContract.from_json(embedded)
    assert contract == result.contract
    assert contract.batch == batch
    names = [node.name for node in proto.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)  # onnxruntime 1.18 fuses nodes by their names
    assert [value.name for value in proto.graph.input] == [
        spec.name for spec in (*contract.inputs, *contract.carry)
    ]
    assert ("Loop" in {node.op_type for node in proto.graph.node}) == (recursion == "rolled")
    assert OnnxRunner(result.path).contract == contract


def test_a_file_that_computes_something_else_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx import numpy_helper

    honest = exporter.convert

    def wrong(*args: Any, **options: Any) -> Any:
        proto = honest(*args, **options)
        largest = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
        values = numpy_helper.to_array(largest) * np.float32(1.05)
        largest.CopyFrom(numpy_helper.from_array(values, largest.name))
        return proto

    monkeypatch.setattr(exporter, "convert", wrong)
    model = built("mlp")
    with pytest.raises(ParityError, match="was not written: FAILED at forced values") as failure:
        export_onnx(model, tmp_path / "m.onnx")
    assert failure.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    model = built("seed")
    with pytest.raises(UsageError, match="the seed family has two"):
        export_onnx(model, tmp_path / "m.onnx", recursion="rolled")
    choices, own = Choices(granularity="block", recursion="rolled"), built("mlp")
    with pytest.raises(UsageError, match="a single pass, which cannot be rolled"):
        export(own, tmp_path / "m.onnx", probe_puzzles(own), format_named("onnx"), choices)
    with pytest.raises(UsageError, match="recursion must be unrolled or rolled, got 'both'"):
        export_onnx(model, tmp_path / "m.onnx", recursion="both")
    with pytest.raises(UsageError, match="batch must be 1 to 2,147,483,647, or free, got 0"):
        export_onnx(model, tmp_path / "m.onnx", batch=0)
    mine = tmp_path / "mine.onnx"
    mine.write_text("not an export")
    with pytest.raises(OverwriteError, match=r"mine\.onnx exists"):
        export_onnx(model, mine)
    assert mine.read_text() == "not an export"


def test_contract_carries_the_tuned_threshold_and_survives_json() -> None:
    model = TRM.from_config({**built("seed").get_config(), "halt_threshold": 1.5})
    contract = contract_for(model)
    assert contract.halt.kind == "q_halt_minus_q_continue"
    assert contract.halt.threshold == 1.5
    assert json.loads(contract.to_json())["max_steps"] == 3
    assert StepContract.from_json(contract.to_json()) == contract


def test_probe_uses_the_task_of_the_model() -> None:
    model = TRM(6, 16, 2, 1.0, 16)
    task = find_task(model.config)
    assert task is not None
    assert task.name == "sudoku4"
    puzzles = probe_puzzles(model, 4)
    assert puzzles.labels is not None
    their_model = TRM(7, 16, 2, 1.0, 5)
    assert find_task(their_model.config) is None
    assert probe_puzzles(their_model, 4).inputs.shape == (4, 5)


def test_documents_of_an_exporter_land_beside_the_file(tmp_path: Path) -> None:
    text = json.dumps({"tool": "trm-export 0", "puzzles": 3})
    model, path = built("mlp"), tmp_path / "m.onnx"

    def write(job: Job, path: Path) -> Documents:
        exporter.write(job, path)
        return {".calibration.json": text}

    kind = dataclasses.replace(format_named("onnx"), write=write)
    for _ in range(2):  # ours, so that a second export replaces it without force
        result = export(model, path, probe_puzzles(model), kind)
    document = tmp_path / "m.onnx.calibration.json"
    assert result.documents == (document, tmp_path / "m.onnx.measured.json")
    assert document.read_text(encoding="utf-8") == text
    document.write_text("{}")
    before = path.read_bytes()
    with pytest.raises(OverwriteError, match=r"calibration\.json exists"):
        export(model, path, probe_puzzles(model), kind)
    assert path.read_bytes() == before


@pytest.mark.parametrize("recursion", ["unrolled", "rolled"])
def test_the_same_model_gives_the_same_bytes(recursion: str, tmp_path: Path) -> None:
    """Names and order of tf2onnx vary from one conversion to the next."""
    model, kind = built("mlp"), format_named("onnx")
    for name in ("a", "b"):
        kind.write(
            plan(model, probe_puzzles(model), kind, Choices(recursion=recursion)), tmp_path / name
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_pass_the_converter_as_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As constants, TensorFlow and tf2onnx would hold some twenty copies of them at once."""
    from tf2onnx import tf_loader

    sizes, from_function = [], tf_loader.from_function

    def measured(*given: Any) -> Any:
        graph = from_function(*given)
        sizes.append(graph.ByteSize())
        return graph

    monkeypatch.setattr(tf_loader, "from_function", measured)
    model = load_model(shipped_checkpoint("sudoku9"))
    job = plan(model, probe_puzzles(model), format_named("onnx"))
    proto = converted(job, job.contract, rolled=False)
    assert sizes[0] < proto.ByteSize() / 10
    assert [value.name for value in proto.graph.input] == [s.name for s in incoming(job.contract)]
    assert weight_names(model) <= {tensor.name for tensor in proto.graph.initializer}
