"""TFLite files: what lies in them, what they compute in LiteRT, and what is refused."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import json
import os
import re
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.exporters.test_export_onnx import built
from trm_export.artifacts.tflite_info import TFLiteFileInfo, inspect_tflite
from trm_export.artifacts.tflite_micro import missing
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import ParityError, TargetError, TRMError, UsageError
from trm_export.exporters import export_all as set_module
from trm_export.exporters import shared as shared_module
from trm_export.exporters import tflite as exporter
from trm_export.exporters.calibration import OTHERS_PER_STEP, PER_STEP
from trm_export.exporters.export import Choices, ExportResult, export, format_named, plan
from trm_export.exporters.export_all import export_all
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.exporters.tflite_calibration import Calibration, calibrate, matrix_names
from trm_export.exporters.tflite_flatbuffer import attending, load
from trm_export.exporters.tflite_micro import for_micro
from trm_export.files import MEASURED, sidecar
from trm_export.files import MICRO as MICRO_DOCUMENT
from trm_export.model import TRM
from trm_export.model.layers import SwiGLU
from trm_runtime.drivers.litert import LiteRTRunner
from trm_runtime.drivers.tflite_file import CONTRACT_MEMBER, append_contract
from trm_runtime.runner import initial_carry

MATRICES = 17 * 512 + 256 * 17 + 32 * 512 + 256 * 32  # weights of the only block of sudoku4
LM_HEAD, OTHERS = 32 * 6, 32 * 6 + 32 * 2 + 2 + 2 * 17 * 32 + 32  # embedding, halting head, starts
CONSTANTS = 1000  # row scales, a loop's first values; less than the smallest matrix
ITEMSIZE = {"fp32": 4, "fp16": 2, "int8": 1, "int8-static": 1}
DTYPES = {"fp32": "float32", "fp16": "float16", "int8": "int8", "int8-static": "int8"}
TFLITE = format_named("tflite")
MICRO = "tflite-micro"


@pytest.fixture(scope="module")
def sudoku4() -> TRM:
    return load_model(shipped_checkpoint("sudoku4"))


@pytest.fixture(scope="module")
def shared(sudoku4: TRM) -> Shared:
    return Shared(sudoku4)


@pytest.fixture(scope="module")
def calibration(sudoku4: TRM, shared: Shared) -> Calibration:
    job = plan(sudoku4, probe_puzzles(sudoku4), TFLITE, Choices("int8-static"))
    return calibrate(job, exporter.convert)


@pytest.fixture
def calibrated(calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration takes seconds and does not depend on what is exported."""
    monkeypatch.setattr(exporter, "calibrate", lambda job, convert: calibration)


def exported(
    model: TRM, path: Path, choices: Choices, shared: Shared | None = None
) -> tuple[ExportResult, TFLiteFileInfo]:
    result = export(model, path, probe_puzzles(model), TFLITE, choices, shared=shared)
    return result, inspect_tflite(path)


@pytest.mark.usefixtures("calibrated")
@pytest.mark.parametrize("granularity", ["step", "loop", "block"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-static"])
def test_a_file_holds_each_weight_once_and_passes_its_gate(
    sudoku4: TRM, shared: Shared, precision: str, granularity: str, tmp_path: Path
) -> None:
    choices = Choices(precision, granularity=granularity)
    result, info = exported(sudoku4, tmp_path / "m.tflite", choices, shared)
    assert result.verdict.startswith("PASSED")
    assert (info.sidecar, info.contract_problems) == ("same", ())
    assert info.contract == result.contract
    assert info.contract is not None
    assert info.contract.batch == 1
    assert info.signatures == (f"act_{granularity}",)
    assert info.custom_operators == ()
    assert info.opens_in_tflite_runtime == (precision != "int8")
    assert info.operators.get("WHILE", 0) == {"step": 1, "loop": 2, "block": 0}[granularity]
    small = info.weight_bytes[DTYPES[precision]]
    heads = {"fp32": LM_HEAD + OTHERS, "fp16": LM_HEAD + OTHERS, "int8": 0, "int8-static": LM_HEAD}
    most = MATRICES + heads[precision] + CONSTANTS
    assert MATRICES <= small / ITEMSIZE[precision] <= most
    if precision != "fp32":
        assert info.weight_bytes.get("float32", 0) < 4 * (LM_HEAD + OTHERS + CONSTANTS)


def test_an_unrolled_file_has_no_loop_and_shares_its_weights(
    sudoku4: TRM, shared: Shared, tmp_path: Path
) -> None:
    choices = Choices("int8", recursion="unrolled")
    _, info = exported(sudoku4, tmp_path / "m.tflite", choices, shared)
    assert "WHILE" not in info.operators
    assert info.weight_bytes["int8"] == MATRICES


NAMED = {
    **{
        f"{precision}-{granularity}": Choices(precision, granularity=granularity)
        for precision in ITEMSIZE
        for granularity in ("step", "loop", "block")
    },
    "unrolled": Choices("int8-static", recursion="unrolled"),
    "integer-io": Choices("int8-static", integer_io=True),
    "integer-io-block": Choices("int8-static", granularity="block", integer_io=True),
    "ports": Choices("int8-static", granularity="block", integer_io=True, ports="int32"),
    "keep": Choices("int8", keep=("inner/lm_head/vars/0",)),
    "micro": Choices(engine=MICRO),
    "micro-block": Choices(granularity="block", engine=MICRO),
    "micro-ports": Choices("int8-static", integer_io=True, ports="int32", engine=MICRO),
}


@pytest.mark.usefixtures("calibrated")
@pytest.mark.parametrize("choices", NAMED.values(), ids=NAMED.keys())
def test_no_two_tensors_have_the_same_name(
    sudoku4: TRM, shared: Shared, choices: Choices, tmp_path: Path
) -> None:
    """Engines and converters that find tensors by name refuse such files, or compute wrongly."""
    job = plan(sudoku4, probe_puzzles(sudoku4), TFLITE, choices, shared)
    TFLITE.write(job, tmp_path / "m.tflite")
    model = load((tmp_path / "m.tflite").read_bytes())
    names = Counter(tensor.name for graph in model.subgraphs for tensor in graph.tensors)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.usefixtures("calibrated")
@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,  # importing it sends telemetry
    reason="openvino is not installed",
)
def test_openvino_reads_a_file_in_static_int8(sudoku4: TRM, shared: Shared, tmp_path: Path) -> None:
    """It finds tensors by name."""
    from trm_runtime.drivers.openvino import load_engine

    path, puzzles = tmp_path / "m.tflite", probe_puzzles(sudoku4)
    job = plan(sudoku4, puzzles, TFLITE, Choices("int8-static"), shared)
    TFLITE.write(job, path)
    inputs, carry = {"inputs": puzzles.inputs[:1]}, initial_carry(job.contract, 1)
    wanted = LiteRTRunner(path).step(inputs, carry)
    core = load_engine().Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    model = load(path.read_bytes())
    signature, tensors = model.signatureDefs[0], model.subgraphs[0].tensors
    entering, leaving = (
        {entry.name.decode(): tensors[entry.tensorIndex].name.decode() for entry in side}
        for side in (signature.inputs, signature.outputs)
    )
    found = compiled({entering[name]: array for name, array in {**inputs, **carry}.items()})
    pairs = [(found[leaving[name]], array) for name, array in wanted.outputs.items()]
    pairs += [(found[leaving[spec.next]], wanted.carry[spec.name]) for spec in job.contract.carry]
    for array, expected in pairs:  # two engines do not round every int8 value alike
        difference = array.astype(np.float32) - expected.astype(np.float32)
        assert np.linalg.norm(difference) <= 0.05 * np.linalg.norm(expected.astype(np.float32))


@pytest.mark.parametrize(("kind", "batch"), [("mlp", 2), ("identifiers", "free"), ("seed", 2)])
def test_every_kind_of_model_exports(kind: str, batch: Any, tmp_path: Path) -> None:
    model = built(kind)
    result, info = exported(model, tmp_path / "m.tflite", Choices(batch=batch))
    assert result.forced_error < 1e-4
    assert result.contract.batch == (None if batch == "free" else batch)
    assert info.custom_operators == ()
    assert (result.recursion == "rolled") == (kind != "seed")


@pytest.mark.parametrize(
    ("kind", "big"), [("identifiers", False), ("seed", False), ("identifiers", True)]
)
def test_attention_and_separate_stacks_calibrate(
    kind: str, big: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A big model runs row by row, and of a batch of 1 the converter leaves the axis out."""
    if big:
        monkeypatch.setattr(shared_module, "FEW_FROM", 0)
    model = built(kind)
    job = plan(model, probe_puzzles(model), TFLITE, Choices("int8-static"))
    found = calibrate(job, exporter.convert)
    stacks = 1 if kind == "identifiers" else 2
    layers = 5 if kind == "identifiers" else 10  # qkv, out, gate, up, down of each block
    assert len(found.products) == stacks * layers + 1
    assert max(how.error for how in found.products.values()) < 0.05


@pytest.mark.parametrize(
    ("kind", "found"), [("identifiers", {"qkv"}), ("seed", {"qkv"}), ("mlp", set())]
)
def test_the_matrices_of_queries_and_keys_are_found(kind: str, found: set[str]) -> None:
    model = built(kind)
    job = plan(model, probe_puzzles(model), TFLITE, Choices())
    names = matrix_names(model)
    flatbuffer = load(exporter.convert(job))
    keys = set().union(*(attending(flatbuffer, graph) for graph in flatbuffer.subgraphs))
    assert {names[key].split("/")[-3] for key in keys} == found
    assert len(keys) == sum("/qkv/" in name for name in names.values())


@pytest.mark.parametrize("maze", ["maze9", "maze11"])
def test_attention_passes_the_gate_of_static_int8(maze: str, tmp_path: Path) -> None:
    model = load_model(shipped_checkpoint(maze))
    result, info = exported(model, tmp_path / "m.tflite", Choices("int8-static"))
    assert result.verdict.startswith("PASSED")
    assert result.kept == ()
    assert info.opens_in_tflite_runtime
    measured = json.loads(sidecar(tmp_path / "m.tflite", MEASURED).read_text())
    worst = max(error for _, tensor, error in measured["relative_l2"] if tensor.startswith("q_"))
    assert worst < 0.05  # a clipped query: 0.15 on maze9, 0.34 on maze11


def test_the_manifest_says_what_was_seen(calibration: Calibration) -> None:
    found = json.loads(calibration.manifest)
    assert found["clipped_steps"] == list(range(1, 9))
    assert found["samples_per_step"] == [PER_STEP] * 8
    assert found["scrambled_per_step"] == found["held_out_per_step"] == [OTHERS_PER_STEP] * 8
    names = [matrix["matrix"] for matrix in found["matrices"]]
    assert len(set(names)) == len(names) == 7
    assert "inner/lm_head/vars/0" in names
    for matrix in found["matrices"]:
        assert matrix["entering"][0] < 0 < matrix["entering"][1]
        assert len(matrix["clipped"]["entering"]) == 8


def test_the_clipping_of_a_big_model_is_of_some_steps(
    sudoku4: TRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_module, "FEW_FROM", 0)
    job = plan(sudoku4, probe_puzzles(sudoku4), TFLITE, Choices("int8-static"))
    found = json.loads(calibrate(job, exporter.convert).manifest)
    assert found["clipped_steps"] == [1, 2, 3, 4, 8]
    assert found["samples_per_step"] == [2] * 8
    assert found["scrambled_per_step"] == [1] * 8
    assert found["held_out_per_step"] == [1] * 5
    assert {len(matrix["clipped"]["entering"]) for matrix in found["matrices"]} == {5}


@pytest.mark.usefixtures("calibrated")
def test_the_manifest_lies_beside_the_file(
    sudoku4: TRM, shared: Shared, calibration: Calibration, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    result, _ = exported(sudoku4, path, Choices("int8-static"), shared)
    document = result.documents[0]
    assert document.name == "m.tflite.calibration.json"
    assert document.read_text() == calibration.manifest


def test_ranges_that_cut_off_a_state_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trm_export.exporters import tflite_calibration

    honest = tflite_calibration.products

    def narrow(*args: Any) -> Any:
        found = honest(*args).items()
        return {key: dataclasses.replace(how, entering=(-0.5, 0.5)) for key, how in found}

    monkeypatch.setattr(tflite_calibration, "products", narrow)
    with pytest.raises(ParityError, match=r"outside the calibrated range, expected at most 0\.1%"):
        exported(built("mlp"), tmp_path / "m.tflite", Choices("int8-static"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("calibrated")
@pytest.mark.parametrize("precision", ["int8", "int8-static"])
def test_the_same_job_gives_the_same_bytes(sudoku4: TRM, precision: str, tmp_path: Path) -> None:
    job = plan(sudoku4, probe_puzzles(sudoku4), TFLITE, Choices(precision))
    for name in ("a", "b"):
        TFLITE.write(job, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert archive.read(CONTRACT_MEMBER).decode() == job.contract.to_json()


def test_the_model_computes_as_before_after_an_export(sudoku4: TRM) -> None:
    job = plan(sudoku4, probe_puzzles(sudoku4), TFLITE, Choices())
    exporter.convert(job)
    gates = [layer for layer in sudoku4._flatten_layers() if isinstance(layer, SwiGLU)]
    assert gates
    assert all(layer.fused for layer in gates)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (Choices("int8", engine="tflite-runtime"), "does not have FULLY_CONNECTED version 12"),
        (Choices("int8", engine=MICRO), "does not multiply float values by int8 weights"),
        (Choices("fp16", engine=MICRO), "does not convert float16 weights"),
        (Choices(batch="free", engine=MICRO), "a dynamic batch is not supported for tflite-micro"),
        (Choices(granularity="loop", engine=MICRO), "granularity loop is not supported"),
        (Choices("int8-static", batch="free"), "int8-static needs a fixed batch"),
        (
            Choices("int2"),
            "precision must be fp32 or fp16 or int8 or int8-static or int4, got 'int2'",
        ),
        (Choices("int4"), "one scale for all inputs of an output.*use onnx, or int8"),
        (
            Choices(engine="coral"),
            "target must be litert or .* or tflite-micro, got 'coral'",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(sudoku4: TRM, choices: Choices, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(sudoku4, probe_puzzles(sudoku4), TFLITE, choices)


def test_a_full_folder_for_temporary_files_is_named_with_a_remedy(
    sudoku4: TRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(job: Any, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(exporter, "save_graph", full)
    with pytest.raises(TargetError, match=r"cannot be written: No space .* Set TMPDIR to one with"):
        export(sudoku4, tmp_path / "m.tflite", probe_puzzles(sudoku4), TFLITE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_for_temporary_files_with_a_bracket_is_named_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TRM(6, 16, 2, 1.0, 16, halt_max_steps=3)  # which no other test has converted
    folder = tmp_path / "t[x]"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(TRMError, match=r"t\[x\], has a bracket in its name, .* set TMPDIR to"):
        export(model, tmp_path / "m.tflite", probe_puzzles(model, 2), TFLITE)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.usefixtures("calibrated")
@pytest.mark.parametrize("granularity", ["step", "block"])
@pytest.mark.parametrize("choices", [Choices(), Choices("int8-static", integer_io=True)])
def test_a_file_for_tflite_micro_has_its_operators_only(
    sudoku4: TRM, shared: Shared, choices: Choices, granularity: str, tmp_path: Path
) -> None:
    usual = dataclasses.replace(choices, granularity=granularity)
    _, before = exported(sudoku4, tmp_path / "usual.tflite", usual, shared)
    assert before.missing_in_tflite_micro == ("FLOOR_MOD of int32", "SELECT", "SELECT_V2 of int32")
    path = tmp_path / "m.tflite"
    micro = dataclasses.replace(usual, engine=MICRO)
    result, info = exported(sudoku4, path, micro, shared)
    assert result.verdict.startswith("PASSED")
    assert info.missing_in_tflite_micro == ()
    assert info.contract == before.contract
    assert info.weight_bytes.keys() == before.weight_bytes.keys()
    facts = json.loads(sidecar(path, MICRO_DOCUMENT).read_text())
    assert facts["operators"] == sorted(info.operators)
    assert {"AddFullyConnected", "AddSelectV2", "AddCast"} < set(facts["resolver"])
    assert ("AddWhile" in facts["resolver"]) == (granularity == "step")
    assert (facts["arena"] is None) == (facts["measured_with"] is None)


def test_an_operator_that_tflite_micro_lacks_is_named(tmp_path: Path) -> None:
    model = TRM(6, 16, 2, 1.0, 16, ffn_type="mlp", ffn_activation="gelu", halt_max_steps=1)
    with pytest.raises(UsageError, match=r"tflite-micro does not have GELU.*trm-export c\."):
        exported(model, tmp_path / "m.tflite", Choices(engine=MICRO))
    assert list(tmp_path.iterdir()) == []


def test_integers_that_float32_cannot_hold_are_refused_for_tflite_micro(sudoku4: TRM) -> None:
    job = plan(sudoku4, probe_puzzles(sudoku4), TFLITE, Choices(engine=MICRO))
    assert list(TFLITE.refusals(job)) == []
    far = dataclasses.replace(job.contract, max_steps=1 << 24)
    (problem,) = TFLITE.refusals(dataclasses.replace(job, contract=far))
    assert "exact below 16,777,216, but this model counts to 16,777,216" in problem


def test_a_select_of_whole_rows_stays_one() -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([3], tf.bool), tf.TensorSpec([3, 3])])
    def rows(condition: Any, values: Any) -> Any:
        return tf.raw_ops.Select(condition=condition, x=values, y=-values)

    concrete = rows.get_concrete_function()
    data = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    assert np.array_equal(missing(load(for_micro(data))), ["SELECT"])


def test_separate_stacks_have_no_block(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the seed family has two"):
        exported(built("seed"), tmp_path / "m.tflite", Choices(granularity="block"))


def test_the_command_exports_for_the_old_engine_and_inspect_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.tflite"
    model = str(shipped_checkpoint("sudoku4"))
    assert run(["tflite", model, "--target", "tflite-runtime", "-o", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(path), f"{path}.json", f"{path}.measured.json"
    ]  # fmt: skip
    assert run(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    for words in ("LiteRT, tflite-runtime 2.14", "act_step", "fits the graph; the same"):
        assert words in shown


def test_inspect_looks_at_other_peoples_files_too(sudoku4: TRM, tmp_path: Path) -> None:
    job = plan(sudoku4, probe_puzzles(sudoku4), TFLITE, Choices(batch="free"))
    path = tmp_path / "m.tflite"
    path.write_bytes(exporter.convert(job))
    info = inspect_tflite(path)
    assert (info.contract, info.sidecar) == (None, "missing")
    append_contract(path, job.contract.to_json())
    assert inspect_tflite(path).contract_problems == ()
    other = dataclasses.replace(job.contract, max_steps=3)
    (tmp_path / "m.tflite.json").write_text(other.to_json())
    assert inspect_tflite(path).sidecar == "differs"
    head = sudoku4.inner.lm_head.kernel.numpy().T.tobytes()
    path.write_bytes(path.read_bytes().replace(head, bytes(len(head))))
    (problem,) = inspect_tflite(path).contract_problems
    assert "does not match its checksum" in problem


class Unusual(TRM):
    """Computes what neither TFLite nor ONNX has operators for."""

    def call(self, carry: Any, batch: Any, training: bool = False, **options: Any) -> Any:
        new, outputs = super().call(carry, batch, training=training, **options)
        logits = keras.ops.erfinv(0.1 * keras.ops.tanh(outputs["logits"]))
        root = keras.ops.cholesky(keras.ops.eye(6) * (1.0 + keras.ops.square(logits[0, 0, 0])))
        return new, {**outputs, "logits": logits @ root}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_a_model_of_another_precision_is_refused(policy: str) -> None:
    model = TRM(6, 16, 2, 1.0, 16, dtype=policy)
    for kind in (TFLITE, format_named("onnx")):
        with pytest.raises(
            UsageError, match=r"computes in .*; export it to saved-model, which tak"
        ):
            plan(model, probe_puzzles(model, 2), kind, Choices())


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_a_saved_model_takes_a_model_of_another_precision(policy: str, tmp_path: Path) -> None:
    model = TRM(6, 16, 2, 1.0, 16, dtype=policy, h_layers=1, l_layers=1, halt_max_steps=2)
    made = export(model, tmp_path / "m", probe_puzzles(model, 2), format_named("saved-model"))
    assert made.forced_error < 1e-6


def test_operators_that_a_format_does_not_have_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_module, "PRECISIONS", ("fp32",))
    model = Unusual(6, 16, 2, 1.0, 16, halt_max_steps=1)
    found = {one.format: one for one in export_all(model, "m", tmp_path, probe_puzzles(model, 2))}
    assert found.pop("saved-model").result
    sentence = r"does not have: Cholesky, Erfinv; export it to saved-model"
    for kind, standard in (("onnx", r"ONNX \(opset 17\)"), ("tflite", "TFLite")):
        refused = found.pop(kind).refused
        assert re.match(f"{kind}: the model uses operators that {standard} {sentence}", refused)
    assert not found
    assert [path.name for path in tmp_path.iterdir() if "saved_model" not in path.name] == []


def test_what_cannot_be_converted_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    class Broken:
        target_spec = SimpleNamespace()

        def convert(self) -> bytes:
            raise ConverterError("An invariant does not hold.\n" + "the graph " * 1000)

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", lambda *_, **__: Broken())
    model = TRM(6, 16, 2, 1.0, 16, halt_max_steps=1)
    with pytest.raises(UsageError, match=r"cannot convert .*: An invariant does not") as caught:
        export(model, tmp_path / "m.tflite", probe_puzzles(model, 2), TFLITE)
    assert len(str(caught.value)) < 500
    assert list(tmp_path.iterdir()) == []
