"""Four bits in ONNX: what is stored, what an engine makes of it, and who does not have them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.artifacts.contract_rewrite import embedded_contract, rewrite
from trm_export.artifacts.onnx_info import inspect_onnx
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import ParityError, UsageError
from trm_export.explain.weights_rung import weights_report, weights_reports
from trm_export.exporters.calibration import Calibration, RecipeError, StepSample
from trm_export.exporters.choices import Choices, target_name
from trm_export.exporters.export import ExportResult, export, format_named, plan
from trm_export.exporters.export_all import export_all
from trm_export.exporters.format import Job
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.onnx_calibrate import calibrate
from trm_export.exporters.onnx_convert import OPSET
from trm_export.exporters.onnx_int4 import BLOCK, MOST_MOVED, four_bits, in_blocks, unpacked
from trm_export.exporters.onnx_int4_calibrate import MovedCodes, moved_by, moved_codes
from trm_export.exporters.onnx_observe import ActivationProbe
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.files import CALIBRATION, KEEP, MEASURED, sidecar
from trm_export.parity.weights_report import NOTHING, ROUNDED, WeightsReport, not_judged
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
    back = dataclasses.replace(stored, moved=np.array([[0], [0], [1]]))
    assert fit("w", np.array([[4.1], [-4.4], [1.1]]), back).steps == pytest.approx(0.2)


def inputs_of(rows: int) -> np.ndarray:
    """(1000, rows): a few directions that carry most, and some noise."""
    draw = np.random.default_rng(3)
    return draw.normal(size=(1000, 5)) @ draw.normal(size=(5, rows)) + 0.2 * draw.normal(
        size=(1000, rows)
    )


def test_codes_moved_by_what_enters_a_matrix_halve_the_error_of_its_products() -> None:
    values, inputs = matrix(82, 24), inputs_of(82)
    found, moved = four_bits(values), moved_by(four_bits(values), values, inputs.T @ inputs)
    assert moved.dtype == np.int8
    assert moved.shape == values.shape
    assert np.abs(moved).max() <= MOST_MOVED
    after = found.moved(moved)
    assert -8 <= after.codes.min() <= after.codes.max() <= 7
    errors = [
        np.linalg.norm(inputs @ (one.codes_of(82) * one.real_of(82) - values))
        for one in (found, after)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_the_nearest_codes_stay_where_nothing_enters() -> None:
    values = matrix(32, 6)
    assert not moved_by(four_bits(values), values, np.zeros((32, 32))).any()


@pytest.fixture(scope="module")
def document(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("int4") / "m.onnx"
    exported(shared, path, Choices("int4"))
    return path.with_name("m.onnx.calibration.json").read_text()


@pytest.fixture(scope="module")
def known(shared: Shared) -> dict[str, np.ndarray]:
    return weights(shared.model)


Known = Mapping[str, np.ndarray]


def test_the_document_has_the_moved_codes(document: str, known: Known) -> None:
    found = MovedCodes.from_json(document, known)
    assert found.to_json() == document
    assert sum(moved.size for moved in found.moved.values()) == MATRICES - 512  # a row of zeros
    assert all(0.05 < np.mean(moved != 0) < 0.7 for moved in found.moved.values())
    assert found.samples_per_step == (8,) * 8


@pytest.mark.parametrize(
    "change",
    [
        {"int8": "!"},
        {"int8": "eJwDAAAAAAE="},  # of no bytes
        {"int8": "QUJD"},  # not packed by zlib
        {"shape": [3, 3]},
        {"shape": [10**9, 10**9]},
        {"shape": [10**15, 10**15]},
        {"shape": [-1, 18]},
        {"shape": [-1]},
        {"shape": [0, 512], "int8": "eJwDAAAAAAE="},
        {"shape": "many"},
    ],
)
def test_a_changed_document_is_refused(
    document: str, known: Known, change: dict[str, object]
) -> None:
    facts = json.loads(document)
    facts["moved_codes"][0].update(change)
    with pytest.raises(RecipeError, match=r"^The calibration document cannot be used"):
        MovedCodes.from_json(json.dumps(facts), known)


def test_codes_that_are_moved_too_far_are_refused(document: str, known: Known) -> None:
    found = MovedCodes.from_json(document, known)
    name = next(iter(found.moved))
    far = {name: found.moved[name] + np.int8(MOST_MOVED + 1)}
    with pytest.raises(RecipeError, match="a code is moved by more than 2; export"):
        MovedCodes.from_json(dataclasses.replace(found, moved=far).to_json(), known)


def test_a_document_of_another_model_is_refused(
    shared: Shared, document: str, tmp_path: Path
) -> None:
    result = exported(shared, tmp_path / "m.onnx", Choices("int4"))
    facts = json.loads(document)
    facts["moved_codes"][0]["shape"].reverse()
    sidecar(result.path, CALIBRATION).write_text(json.dumps(facts))
    assert "has the shape" in judged(shared, result.path).problems[0]


def judged(shared: Shared, path: Path) -> WeightsReport:
    """As `parity` does; the errors of single steps are measured again whatever comes of it."""
    [(report, errors)] = weights_reports(lambda: shared.model, [path], False, lambda *_: None)
    assert errors is not None
    assert errors.status == "ok"
    assert report.status == "failed"
    return report


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe\x80abc", b"[]", b'{"moved_codes": 3}'])
def test_a_document_that_cannot_be_used_does_not_let_a_file_pass(
    shared: Shared, text: bytes, tmp_path: Path
) -> None:
    result = exported(shared, tmp_path / "m.onnx", Choices("int4"))
    sidecar(result.path, CALIBRATION).write_bytes(text)
    report = judged(shared, result.path)
    assert report.compared_with == NOTHING
    name = sidecar(result.path, CALIBRATION).name
    assert report.summary.startswith(f"{name}: The calibration document cannot be used: ")
    assert report.rung.problems == (report.summary,)


def test_a_reason_that_is_also_a_problem_does_not_hide_the_comparison() -> None:
    report = WeightsReport("failed", "int4", problems=("a: differs",), reason="a: differs")
    assert report.summary.startswith("the file is not the model rounded to int4: 1 difference, a: ")
    assert not_judged("int4", "Why.").summary == "Why."


def of_another_version(path: Path) -> None:
    contract = embedded_contract(path)
    versions = {**contract.made_by.versions, "onnx": "1.0.0"}
    rewrite(path, replace(contract, made_by=replace(contract.made_by, versions=versions)), path)


def test_a_file_of_another_version_is_compared_with_the_moved_codes(
    shared: Shared, document: str, known: Known, tmp_path: Path
) -> None:
    result = exported(shared, tmp_path / "m.onnx", Choices("int4"))
    of_another_version(result.path)
    assert weights_report(shared, result.path).status == "ok"
    found = MovedCodes.from_json(document, known)
    name = "H_level/block/ffn/down"
    others = {**found.moved, name: np.zeros_like(found.moved[name])}
    changed = dataclasses.replace(found, moved=others)
    sidecar(result.path, CALIBRATION).write_text(changed.to_json())
    report = weights_report(shared, result.path)
    assert (report.status, report.compared_with) == ("failed", ROUNDED)
    assert report.problems[0].startswith(f"{name} ")
    assert len(report.problems) == 1


def test_documents_of_the_file_before_go_with_it(shared: Shared, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    exported(shared, path, Choices("int4", keep=("*down",)))
    beside = [sidecar(path, ending) for ending in (CALIBRATION, KEEP, MEASURED)]
    assert all(document.is_file() for document in beside)
    own = tmp_path / "m.onnx.notes.json"
    own.write_text("{}")
    exported(shared, path, Choices())
    assert [document.is_file() for document in beside] == [False, False, True]
    assert own.is_file()


def test_a_file_whose_codes_are_not_those_of_its_document_is_not_its_model(
    shared: Shared, document: str, tmp_path: Path
) -> None:
    result = exported(shared, tmp_path / "m.onnx", Choices("int4"))
    found = MovedCodes.from_json(document, weights(shared.model))
    changed = {name: moved.copy() for name, moved in found.moved.items()}
    first = next(iter(changed))
    changed[first][0, 0] = 0 if changed[first][0, 0] else 1
    sidecar(result.path, CALIBRATION).write_text(
        dataclasses.replace(found, moved=changed).to_json()
    )
    report = weights_report(shared, result.path)
    assert report.status == "failed"
    assert "1 of" in report.problems[0]


@pytest.mark.parametrize("kind", ["tflite", "saved-model"])
def test_other_formats_refuse(shared: Shared, kind: str) -> None:
    with pytest.raises(UsageError, match=f"^{kind}: int4 is not supported for .*use onnx"):
        plan(shared.model, probe_puzzles(shared.model), format_named(kind), Choices("int4"), shared)


def test_ranges_and_moved_codes_of_one_set_come_from_one_run_of_the_step(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, together = shared.model.keras, Shared(shared.model)
    together.planned = frozenset({"int8-static", "int4"})

    def made(of: Shared) -> tuple[Calibration, MovedCodes]:
        eight, four = (
            plan(model, probe_puzzles(model), format_named("onnx"), Choices(precision), of)
            for precision in ("int8-static", "int4")
        )
        return calibrate(eight), moved_codes(four)

    ranges, codes = made(shared)
    runs: list[int] = []
    run_once = ActivationProbe.activations

    def counting(self: ActivationProbe, sample: StepSample) -> Iterator[tuple[str, Any]]:
        runs.append(sample.step)
        return run_once(self, sample)

    monkeypatch.setattr(ActivationProbe, "activations", counting)
    same_ranges, same_codes = made(together)
    assert len(runs) == 2 * model.config.halt_max_steps  # of these puzzles and of held-out ones
    assert same_ranges == ranges
    assert same_codes.to_json() == codes.to_json()


def test_the_files_of_a_set_know_each_others_precisions(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[frozenset[str]] = []

    def produce(job: Job, *given: Any, **options: Any) -> ExportResult:
        planned.append(job.shared.planned)
        raise ParityError("Not written.")

    monkeypatch.setattr("trm_export.exporters.export_all.produce", produce)
    entries = [*export_all(shared.model, "m", tmp_path, probe_puzzles(shared.model))]
    assert set(planned) == {frozenset(one.precision for one in entries if one.failed)}
    assert {"int8-static", "int4"} < planned[0]


def test_a_file_has_the_precision_in_its_name() -> None:
    assert target_name("model", "onnx", Choices("int4")) == "model-int4.onnx"


def test_auto_keep_of_int4_ends_with_a_file_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shipped_checkpoint("sudoku4")
    monkeypatch.chdir(tmp_path)
    options = ["--precision", "int4", "--auto-keep", "400", "--auto-keep-count", "4"]
    assert run(["onnx", str(model), *options, "-o", "m.onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"]
    assert told["stages"][0]["kept"] == []
    assert OnnxRunner(tmp_path / "m.onnx").contract.precision == "int4"
