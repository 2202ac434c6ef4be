"""The rung `weights`: faulty files are caught, clean ones and harmless changes are not.

A part of the table in docs/parity.md, which `benchmarks/measure_mutations.py` makes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.parity.mutation import Subject
from tests.parity.stored_faults import BENIGN
from trm_export.artifacts.contract_rewrite import embedded_contract, rewrite
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.explain.weights_rung import weights_report
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import export, format_named
from trm_export.exporters.measured import measured_again
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.files import CALIBRATION, MEASURED, sidecar
from trm_export.parity.weights_report import ROUNDED, WeightsReport
from trm_export.stored.changes import changes
from trm_runtime.drivers.onnx_file import replace_contract, seal

pytest.importorskip("onnxruntime")

Subjects = Callable[..., Subject]

CAUGHT = [
    ("onnx", "int8", "one value by one step"),
    ("onnx", "int8", "two scales swapped"),
    ("onnx", "int8", "one zero point + 1"),
    ("onnx", "int8", "norm_epsilon_1e_6"),
    ("onnx", "int8", "halts_one_step_late"),
    ("onnx", "int8", "halting_heads_swapped"),
    ("onnx", "int8", "an_older_checkpoint_of_the_same_run"),
    ("tflite", "int8", "one value by one step"),
    ("tflite", "int8", "one scale off by one digit"),
    ("tflite", "int8", "no_reset_of_z_l"),
    ("tflite", "int8", "one_h_cycle_fewer"),
    ("tflite", "int8", "inputs_always_taken"),
    ("saved-model", "fp16", "one value by one step"),
    ("saved-model", "fp16", "one_value_of_h_init"),
    ("saved-model", "fp16", "prefix_of_ones"),
    ("tflite", "int8-static", "rope_sines_negated", "maze9"),
    ("tflite", "int8-static", "scale of an activation x 1.1", "maze9"),
]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    """The healthy export in a format and precision, made once."""

    @functools.cache
    def subject(name: str, precision: str, checkpoint: str = "sudoku4") -> Subject:
        folder = tmp_path_factory.mktemp("mutants")
        return Subject(shipped_checkpoint(checkpoint), name, precision, folder)

    return subject


@pytest.mark.parametrize("case", CAUGHT, ids="-".join)
def test_a_fault_is_caught(subjects: Subjects, case: tuple[str, ...]) -> None:
    name, precision, fault, *checkpoint = case
    subject = subjects(name, precision, *checkpoint)
    path = subject.mutant(fault)
    assert path is not None
    caught = subject.judged(path)
    assert caught.weights == "failed"
    assert caught.changes is not False
    assert caught.words.startswith(f"the file is not the model rounded to {precision}: ")


@pytest.mark.parametrize("fault", BENIGN)
@pytest.mark.parametrize(("name", "precision"), [("onnx", "int8"), ("tflite", "int8")])
def test_a_harmless_change_is_none(
    subjects: Subjects, name: str, precision: str, fault: str
) -> None:
    subject = subjects(name, precision)
    path = subject.mutant(fault)
    assert path is not None
    caught = subject.judged(path)
    assert (caught.weights, caught.changes) == ("ok", False)


def report(subject: Subject, path: Path, *, gated: bool = False) -> WeightsReport:
    return weights_report(Shared(subject.model), path, gated=gated)


def copied(subject: Subject, folder: Path) -> Path:
    """A copy of the healthy `.onnx` file, with its calibration document if it has one."""
    path = folder / "copy.onnx"
    path.write_bytes(subject.healthy.read_bytes())
    document = sidecar(subject.healthy, CALIBRATION)
    if document.is_file():
        sidecar(path, CALIBRATION).write_bytes(document.read_bytes())
    return path


def test_every_weight_is_within_half_a_step(subjects: Subjects) -> None:
    found = report(subjects("onnx", "int8"), subjects("onnx", "int8").healthy)
    assert len(found.weights) == 10
    assert 0.45 < max(one.steps or 0.0 for one in found.weights) < 0.5005
    assert {one.dtype for one in found.weights} == {"int8", "float32"}


def test_a_file_of_another_version_is_compared_weight_by_weight(
    subjects: Subjects, tmp_path: Path
) -> None:
    subject = subjects("onnx", "int8")
    path = copied(subject, tmp_path)
    contract = embedded_contract(path)
    made_by = dataclasses.replace(contract.made_by, tool="trm-export 0.0.1")
    other = dataclasses.replace(contract, made_by=made_by)
    changed = changed_epsilon(path)
    replace_contract(changed, other.to_json())
    found = report(subject, changed)
    assert (found.status, found.compared_with, found.problems) == ("ok", ROUNDED, ())
    assert "trm-export 0.0.1" in found.summary
    change(changed, "H_level/block/ffn/down/int8", lambda x: -x)
    found = report(subject, changed)
    assert found.status == "failed"
    assert "H_level/block/ffn/down" in found.problems[0]


def changed_epsilon(path: Path) -> Path:
    """The file with one constant of its norms changed, which is in no weight."""
    model = onnx.load_model_from_string(path.read_bytes())
    for tensor in model.graph.initializer:
        if tensor.dims == [] and numpy_helper.to_array(tensor) == np.float32(1e-5):
            tensor.CopyFrom(numpy_helper.from_array(np.array(2e-5, np.float32), tensor.name))
    return saved(path, model)


def change(path: Path, name: str, how: Callable[[np.ndarray], np.ndarray]) -> None:
    model = onnx.load_model_from_string(path.read_bytes())
    tensor = next(one for one in model.graph.initializer if one.name == name)
    new = how(np.array(numpy_helper.to_array(tensor)))
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(new), name))
    saved(path, model)


def saved(path: Path, model: onnx.ModelProto) -> Path:
    entry = next(e for e in model.metadata_props if e.key == "trm_file.sha256")
    model.metadata_props.remove(entry)
    path.write_bytes(model.SerializeToString())
    seal(path)
    return path


@pytest.mark.parametrize(
    ("name", "stored", "stated"),
    [
        ("onnx", "fp32", "int8"),
        ("onnx", "fp32", "fp16"),
        ("onnx", "fp16", "int8"),
        ("tflite", "fp32", "int8"),
        ("tflite", "fp32", "fp16"),
        ("saved-model", "fp16", "int8"),
    ],
)
def test_a_contract_cannot_name_another_precision(
    subjects: Subjects, name: str, stored: str, stated: str, tmp_path: Path
) -> None:
    subject = subjects(name, stored)
    contract = embedded_contract(subject.healthy)
    path = tmp_path / f"renamed{subject.healthy.suffix}"
    rewrite(subject.healthy, dataclasses.replace(contract, precision=stated), path)
    found = report(subject, path)
    dtype = {"fp32": "float32", "fp16": "float16"}[stored]
    assert found.status == "failed"
    assert found.problems == (f"every weight is stored as {dtype}, but the contract says {stated}",)


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_some_layers_may_stay_in_float(subjects: Subjects, name: str, tmp_path: Path) -> None:
    model, kind = subjects(name, "int8").model, format_named(name)
    choices = Choices("int8", keep=("*gate_up", "*head*"))
    path = tmp_path / f"kept{kind.suffix}"
    export(model, path, probe_puzzles(model, 2), kind, choices)
    assert report(subjects(name, "int8"), path).status == "ok"


def test_a_change_is_told_with_enough_digits() -> None:
    right = np.linspace(1, 2, 8, dtype=np.float32)
    one = right.copy()
    one[3] = np.nextafter(one[3], np.float32(9))
    (told,) = (how for _, how in changes({"x": right}, {"x": one}))
    assert told == "1 of 8 values differ; largest change: from 1.42857146 to 1.42857158"
    (told,) = (how for _, how in changes({"x": right}, {"x": right * np.float32(1.0001)}))
    assert told == "is multiplied by 1.0001"


@pytest.mark.parametrize("factor", [1 + 2e-7, 1 + 1e-4])
def test_a_table_that_another_processor_computed_is_equal_to_six_digits(
    subjects: Subjects, tmp_path: Path, factor: float
) -> None:
    subject = subjects("onnx", "fp32")
    path = copied(subject, tmp_path)
    constant = next(
        t.name for t in onnx.load(str(path)).graph.initializer
        if t.name.startswith("constant") and numpy_helper.to_array(t).dtype == np.float32
        and numpy_helper.to_array(t).any()
    )  # fmt: skip
    change(path, constant, lambda x: (x * np.float32(factor)).astype(np.float32))
    found = report(subject, path)
    assert found.status == ("ok" if factor < 1 + 1e-6 else "failed")
    assert found.inexact == ((constant,) if found.status == "ok" else ())


def test_a_file_that_another_tool_quantized_is_reported_or_judged_if_asked(
    subjects: Subjects, tmp_path: Path
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    subject, path = subjects("onnx", "fp32"), tmp_path / "dynamic.onnx"
    quantize_dynamic(subject.healthy, path, weight_type=QuantType.QInt8, per_channel=False)
    saved(path, onnx.load(str(path)))
    found = report(subject, path)
    assert (found.status, found.reason) == ("reported", "another tool quantized it")
    steps = {one.weight: one.steps for one in found.weights if one.dtype == "int8"}
    assert len(steps) >= 5
    assert max(steps.values()) <= 0.5005
    assert report(subject, path, gated=True).status == "ok"
    change(path, f"{next(iter(steps))}_quantized", lambda x: np.roll(x, 1, axis=0))
    assert report(subject, path).status == "reported"
    assert report(subject, path, gated=True).status == "failed"


def test_static_int8_is_compared_by_its_own_calibration_document(
    subjects: Subjects, tmp_path: Path
) -> None:
    subject = subjects("onnx", "int8-static")
    path = copied(subject, tmp_path)
    document = json.loads(sidecar(subject.healthy, CALIBRATION).read_text())
    document["tensors"][0]["scale"] *= 2
    beside = sidecar(path, CALIBRATION)
    beside.write_text(json.dumps(document))
    found = report(subject, path)
    assert found.status == "failed"
    assert "in_scale" in found.problems[0]
    beside.write_text("{}")
    with pytest.raises(Exception, match="The calibration document cannot be used"):
        report(subject, path)


def test_the_errors_of_the_export_are_found_again_or_it_fails(
    subjects: Subjects, tmp_path: Path
) -> None:
    subject = subjects("onnx", "int8")
    path = copied(subject, tmp_path)
    shared, beside = Shared(subject.model), sidecar(path, MEASURED)
    assert measured_again(shared, path) is None
    facts = json.loads(sidecar(subject.healthy, MEASURED).read_text())
    beside.write_text(json.dumps(facts))
    rung = measured_again(shared, path)
    assert rung is not None
    assert rung.status == "ok"
    facts["relative_l2"][0][2] *= 3
    beside.write_text(json.dumps(facts))
    rung = measured_again(shared, path)
    assert rung is not None
    assert rung.status == "failed"
    assert rung.problems[0].startswith("step 1, z_H: relative L2")
    path.write_bytes(changed_epsilon(path).read_bytes())
    rung = measured_again(shared, path)
    assert rung is not None
    assert rung.summary == "copy.onnx.measured.json is of another file"
