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
import numpy as np
import onnx
import onnxruntime

from tests.tensorflow_version import NEW
from trm_export.artifacts.onnx_info import inspect_onnx
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import UsageError
from trm_export.exporters import onnx as exporter
from trm_export.exporters.calibration import PER_STEP, PUZZLES, Calibration
from trm_export.exporters.export import Choices, ExportResult, export, format_named, plan
from trm_export.exporters.onnx_calibrate import calibrate
from trm_export.exporters.onnx_convert import OPSET
from trm_export.exporters.onnx_graph import graphs
from trm_export.exporters.onnx_precision import Rows
from trm_export.exporters.onnx_products import quantise
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.model import TRM
from trm_runtime.drivers.onnxruntime import OnnxRunner
from trm_runtime.open import open_runner
from trm_runtime.parity import check
from trm_runtime.parity.gates import GATES

Array = np.ndarray[Any, Any]

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


def test_a_row_that_takes_another_way_is_judged_among_more_rows(tmp_path: Path) -> None:
    model = load_model(shipped_checkpoint("sudoku4"))
    few, path = probe_puzzles(model), tmp_path / "m.onnx"
    kind, choices = format_named("onnx"), Choices("int4")
    result = export(model, path, few, kind, choices)
    if not NEW and "of 6 puzzles and" in result.verdict:
        pytest.skip("the six states that this TensorFlow computes have no such row")
    assert "of 32 puzzles and of 6 refilled slots are within the gates." in result.verdict
    assert " Those of 6 puzzles alone were not." in result.verdict
    steps = check(Shared(model).golden(few), open_runner(path), steps_only=True)
    assert steps.broken is not None
    assert steps.broken.name == "forced values"
    assert "cosine" in steps.verdict


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


@pytest.mark.parametrize("rolled", [False, True])
def test_gate_and_up_are_two_products_of_the_same_eight_bits(
    sudoku4: TRM, shared: Shared, tmp_path: Path, rolled: bool
) -> None:
    result = exported(sudoku4, shared, tmp_path / "m.onnx", "int8", "step", rolled)
    proto = onnx.load_model_from_string(result.path.read_bytes())
    parts = list(graphs(proto.graph))
    cut = [node.output[0] for node in proto.graph.node if node.op_type == "Slice"]
    stored = [name for name in cut if name.startswith("H_level/")]
    assert len(set(stored)) == len(stored) == 2 * 2 * 3  # layers, halves; integers, scales, zeros
    nodes = [node for part in parts for node in part.node]
    made = {name: node.op_type for node in nodes for name in node.output}
    assert not [n for n in nodes if n.op_type == "Slice" and made.get(n.input[0]) == "MatMul"]
    products = [n for n in nodes if n.op_type == "MatMul" and n.input[1].endswith("/w")]
    passes = 1 if rolled else sudoku4.config.passes
    assert len(products) == 6 * passes
    assert len({node.input[0] for node in products}) == 4 * passes


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_an_engine_opens_it_as_integer_products_and_measures_rows_along_the_last_axis(
    sudoku4: TRM, shared: Shared, precision: str, tmp_path: Path
) -> None:
    result = exported(sudoku4, shared, tmp_path / "m.onnx", precision, "step", False)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(result.path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    constants = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 6 * sudoku4.config.passes
    assert all(node.input[1] in constants for node in products)
    axes = [
        attribute.ints[0]
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "ReduceMax" and attribute.name == "axes"
    ]
    assert len(axes) == 2 * sudoku4.config.passes  # what enters gate and up has one scale
    assert set(axes) <= {-1, 2}


def test_rows_of_any_size_are_right_and_alone() -> None:
    """Rows of zeros and of very different sizes; each has the same result without the others."""
    draw = np.random.default_rng(3)
    gate_up = draw.normal(size=(24, 64)).astype(np.float32) / 5
    down = draw.normal(size=(32, 24)).astype(np.float32) / 6
    quantised, exact = (_swiglu(gate_up, down, kept) for kept in ((), ("gate_up", "down")))
    x = draw.normal(size=(1, 5, 24)).astype(np.float32)
    x *= np.array([0, 1e-10, 1e-3, 1, 30], np.float32)[:, None]
    (found,), (right,) = (session.run(None, {"x": x}) for session in (quantised, exact))
    assert not found[0, 0].any()
    for row in range(1, 5):
        a, b = found[0, row].astype(np.float64), right[0, row].astype(np.float64)
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(b)
        (alone,) = quantised.run(None, {"x": x[:, row : row + 1]})
        np.testing.assert_array_equal(alone[0, 0], found[0, row])


@pytest.mark.parametrize("kept", [("gate_up",), ("down",)])
def test_a_scale_is_left_to_a_product_only_if_that_has_rows(kept: tuple[str, ...]) -> None:
    draw = np.random.default_rng(4)
    gate_up = draw.normal(size=(24, 64)).astype(np.float32) / 5
    down = draw.normal(size=(32, 24)).astype(np.float32) / 6
    x = {"x": draw.normal(size=(2, 5, 24)).astype(np.float32)}
    (found,), (right,) = (
        _swiglu(gate_up, down, names).run(None, x) for names in (kept, ("gate_up", "down"))
    )
    assert np.linalg.norm(found - right) < 0.05 * np.linalg.norm(right)
    assert np.any(found != right)


def _swiglu(gate_up: Array, down: Array, kept: tuple[str, ...]) -> onnxruntime.InferenceSession:
    """``down(silu(gate) * up)`` of `x`, its matrices in int8 except for those that are kept."""
    width, most = down.shape[0], np.iinfo(np.int32).max
    arrays = {
        "gate_up": gate_up, "down": down, "zeros": np.zeros(3, np.int64), "axes": np.arange(3),
        "middle": np.array([0, 0, width]), "half": np.array([most, most, width]),
        "end": np.array([most] * 3),
    }  # fmt: skip
    make = onnx.helper.make_node
    nodes = [
        make("MatMul", ["x", "gate_up"], ["both"]),
        make("Slice", ["both", "zeros", "half", "axes"], ["gate"]),
        make("Slice", ["both", "middle", "end", "axes"], ["up"]),
        make("Sigmoid", ["gate"], ["sigmoid"]),
        make("Mul", ["gate", "sigmoid"], ["silu"]),
        make("Mul", ["silu", "up"], ["product"]),
        make("MatMul", ["product", "down"], ["y"]),
    ]
    shape = ("batch", "rows", gate_up.shape[0])
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n in "xy")
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "swiglu", [x], [y], stored)
    quantise(graph, {"gate_up", "down"} - set(kept), Rows())
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
