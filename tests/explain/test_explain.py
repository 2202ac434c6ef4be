"""Injected faults are found, named, and blamed on the right party."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from tensorflow import make_ndarray, make_tensor_proto
from tensorflow.core.protobuf import saved_model_pb2

from tests.explain.conftest import HARD
from tests.parity.conftest import small_model
from tests.parity.faults import (
    no_reset_of_z_h,
    one_weight_off_by_5_percent,
    rope_off_by_one_after_the_prefix,
    swap_names,
)
from tests.runtime.graphs import write
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import UsageError
from trm_export.explain.explain import explain
from trm_export.explain.explanation import Explanation
from trm_export.explain.feeds import calls_of
from trm_export.explain.file_choices import choices_of
from trm_export.explain.stored import labels_of
from trm_export.explain.tflite_walk import scaled, walk_tflite
from trm_export.explain.trial import fresh
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import build, format_named, plan
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.exporters.tflite_flatbuffer import dump, load
from trm_export.model import TRM
from trm_export.tasks import get_task
from trm_runtime.drivers.saved_model_folder import add_contract
from trm_runtime.drivers.saved_model_folder import read_contract as read_folder_contract
from trm_runtime.drivers.tflite_file import append_contract, read_contract
from trm_runtime.json_values import plain
from trm_runtime.parity import GATES, Gates, record

PUZZLES = get_task("sudoku4").puzzles("test", count=4)


def exported(model: Any, path: Path, choices: Choices, fault: Callable[..., Any] | None) -> Path:
    """A file, sealed anew after a fault of `tests.parity.faults` if it is to have one."""
    kind = format_named(path.suffix[1:] or "saved-model")
    build(plan(model, probe_puzzles(model), kind, choices), kind, path)
    if fault is not None:
        proto = onnx.load_model_from_string(path.read_bytes())
        fault(SimpleNamespace(model=model), proto)
        write(path, proto)
    return path


def check_document(found: Explanation) -> None:
    document = json.loads(json.dumps(plain(found.to_json()), allow_nan=False))
    assert document["kind"] == "explanation"
    assert document["conclusion"] == found.conclusion


def test_a_wrong_weight_is_named_with_its_operator(tmp_path: Path) -> None:
    model = small_model("mlp")
    path = exported(model, tmp_path / "m.onnx", Choices(), one_weight_off_by_5_percent)
    found = explain(model, path, PUZZLES)
    assert not found
    assert found.conclusion.startswith("the file: ")
    assert found.first is not None
    assert (found.first.step, found.first.tensor) == (1, "z_H")
    assert found.operators is not None
    first = found.operators.first
    assert first is not None
    assert first.words == f"MatMul of {HARD}, in pass 1"
    assert first.problem is not None
    (stored,) = found.stored
    assert stored.layer == HARD
    assert stored.words.startswith(f"{HARD}: 1 of 8192 values differ")
    assert found.attempts is not None
    assert [one.passed for one in found.attempts] == [False, False, True, True, True]
    assert found.ranking == ()
    check_document(found)


def test_gates_that_no_export_passes_are_to_blame_themselves(tmp_path: Path) -> None:
    model, strict = small_model("mlp"), Gates(relative_l2=1e-12)
    good = exported(model, tmp_path / "m.onnx", Choices(), None)
    found = explain(model, good, PUZZLES, gates=strict)
    assert found.conclusion.startswith("the gates: every new export of fp32 in onnx fails")
    assert found.attempts is not None
    assert [one.passed for one in found.attempts] == [False] * 5
    assert [one.usual for one in found.attempts] == [True] * 5
    bad = exported(model, tmp_path / "bad.onnx", Choices(), one_weight_off_by_5_percent)
    found = explain(model, bad, PUZZLES, gates=strict)
    assert found.conclusion.startswith("the file: ")
    assert found.operators is not None
    assert found.operators.first is not None


def test_a_shifted_rope_table_is_named_with_what_reads_it(tmp_path: Path) -> None:
    model = small_model("attention")
    path = exported(model, tmp_path / "m.onnx", Choices(), rope_off_by_one_after_the_prefix)
    found = explain(model, path, PUZZLES)
    assert found.conclusion.startswith("the file: ")
    assert found.operators is not None
    first = found.operators.first
    assert first is not None
    assert (first.op, first.layer, first.turn) == ("Mul", None, 1)
    assert "mix" in first.output
    changed = {one.tensor: one for one in found.stored}
    assert changed.keys() & set(first.reads)
    assert all("is shifted by 1 along axis" in one.how for one in found.stored)
    assert {one.layer for one in found.stored} == {None}


def test_a_lost_reset_is_found_in_a_rolled_file(tmp_path: Path) -> None:
    model = small_model("mlp")
    path = exported(model, tmp_path / "m.onnx", Choices(recursion="rolled"), no_reset_of_z_h)
    found = explain(model, path, PUZZLES)
    assert found.operators is not None
    assert found.operators.first is not None
    assert found.operators.first.words == "Identity"
    assert found.operators.first.turn is None
    assert found.stored == ()


def mixed_up_names(exported: Any, proto: Any) -> None:
    """A whole number goes by the name of a state, as in the graph of another version it might."""
    one_weight_off_by_5_percent(exported, proto)
    values = {node.op_type: node.output[0] for node in reversed(proto.graph.node)}
    swap_names(proto, values["Where"], values["MatMul"])


def test_a_graph_of_other_names_is_not_walked(tmp_path: Path) -> None:
    model = small_model("mlp")
    path = exported(model, tmp_path / "m.onnx", Choices(), mixed_up_names)
    found = explain(model, path, PUZZLES)
    assert found.conclusion.startswith("the file: ")
    assert found.operators is None
    assert found.operators_of.startswith("the graph differs from what this version writes (")
    assert [one.layer for one in found.stored] == [HARD]


@pytest.mark.parametrize("precision", ["int8", "int8-static"])
def test_a_wrong_scale_of_a_tflite_file_is_named(precision: str, tmp_path: Path) -> None:
    model = load_model(shipped_checkpoint("sudoku4"))
    path = exported(model, tmp_path / "m.tflite", Choices(precision), None)
    contract, flat = read_contract(path), load(path.read_bytes())
    name = re.compile(rb".*/ffn(_1)?/down(_1)?/Tensordot.*")  # numbered up to Keras 3.15
    product = schema.BuiltinOperator.FULLY_CONNECTED
    products = [n for n, code in enumerate(flat.operatorCodes) if code.builtinCode == product]
    scaled = {
        op.inputs[1]: graph.tensors[op.inputs[1]]  # whose own name is another in TensorFlow 2.20
        for graph in flat.subgraphs
        for op in graph.operators
        if op.opcodeIndex in products and name.fullmatch(graph.tensors[op.outputs[0]].name)
    }
    for tensor in scaled.values():
        tensor.quantization.scale = np.array(tensor.quantization.scale) * 3
    assert scaled
    path.write_bytes(dump(flat))
    append_contract(path, contract)
    found = explain(model, path, PUZZLES, ranked=False)
    assert found.conclusion.startswith("the file: ")
    assert found.operators is not None
    first = found.operators.first
    assert first is not None
    assert (first.op, first.layer, first.turn) == ("FULLY_CONNECTED", HARD, 1)
    (stored,) = found.stored
    assert stored.layer == HARD
    assert stored.how == "is multiplied by 3"
    assert "its scales" in stored.tensor
    check_document(found)


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_the_precision_is_to_blame_for_a_layer_that_eight_bits_destroy(
    hard_model: TRM, suffix: str, tmp_path: Path
) -> None:
    path = exported(hard_model, tmp_path / f"m.{suffix}", Choices("int8"), None)
    found = explain(hard_model, path, PUZZLES)
    assert found.conclusion.startswith("the precision: fp32 in ")
    assert found.operators is not None
    first = found.operators.first
    assert first is not None
    assert (first.layer, first.turn) == (HARD, 1)
    assert found.operators_of == f"fp32 in {suffix}"
    assert found.stored == ()
    assert found.ranking[0].layer == HARD
    assert found.ranking[0].cosine < 0.9 < found.ranking[1].cosine


@pytest.mark.parametrize(
    ("mixer", "choices", "turn"),
    [
        ("attention", Choices("fp16", batch=2), 1),
        ("mlp", Choices(granularity="block"), None),
    ],
)
def test_a_wrong_weight_of_a_saved_model_is_named_with_its_operator(
    mixer: str, choices: Choices, turn: int | None, tmp_path: Path
) -> None:
    model, other = small_model(mixer), small_model(mixer)
    kernel = other.inner.H_level.blocks[0].ffn.down.kernel
    wrong = kernel.numpy()
    wrong[3, 5] += 1
    kernel.assign(wrong)
    found = explain(model, exported(other, tmp_path / "m_saved_model", choices, None), PUZZLES)
    assert found.conclusion.startswith("the file: ")
    assert found.operators is not None, found.operators_of
    first = found.operators.first
    assert first is not None
    assert (first.op, first.layer, first.turn, first.reads) == ("MatMul", HARD, turn, (HARD,))
    assert found.operators_of == "a new export with the same choices"  # as docs/explain.md shows
    (stored,) = found.stored
    assert stored.words.startswith(f"{HARD}: 1 of 8192 values differ")
    check_document(found)


def shifted_rope(name: str, array: Any) -> Any:
    return np.roll(array, 1, axis=0) if array.ndim > 1 else array


def longer_cycle(name: str, array: Any) -> Any:
    return array + 1 if name.endswith("/mod/y") else array


@pytest.mark.parametrize(
    ("fault", "op", "turn", "how"),
    [
        (shifted_rope, "Mul", 1, "is shifted by 1 along axis 0"),
        (longer_cycle, "FloorMod", 3, "is multiplied by 1.5"),
    ],
)
def test_a_wrong_constant_of_a_saved_model_is_named_with_what_reads_it(
    fault: Callable[[str, Any], Any], op: str, turn: int, how: str, tmp_path: Path
) -> None:
    model = small_model("attention")
    path = exported(model, tmp_path / "m_saved_model", Choices(), None)
    file, contract = path / "saved_model.pb", read_folder_contract(path)
    proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in proto.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "Const" and "while_body" in function.signature.name:
                tensor = node.attr["value"].tensor
                tensor.CopyFrom(make_tensor_proto(fault(node.name, make_ndarray(tensor))))
    file.write_bytes(proto.SerializeToString())
    add_contract(path, contract)
    found = explain(model, path, PUZZLES)
    assert found.conclusion.startswith("the file: ")
    assert found.operators is not None, found.operators_of
    first = found.operators.first
    assert first is not None
    assert (first.op, first.layer, first.turn) == (op, None, turn)
    assert {one.tensor for one in found.stored} >= set(first.reads) > set()
    assert {one.how for one in found.stored} == {how}


def test_the_precision_is_to_blame_for_what_half_floats_cannot_hold(tmp_path: Path) -> None:
    model = small_model("mlp")
    kernel = model.inner.H_level.blocks[0].ffn.down.kernel
    kernel.assign(kernel.numpy() * 1e6)
    found = explain(
        model, exported(model, tmp_path / "m_saved_model", Choices("fp16"), None), PUZZLES
    )
    assert found.conclusion.startswith("the precision: fp32 in saved-model passes")
    assert found.operators is not None, found.operators_of
    assert found.operators.first is not None
    assert found.operators.first.words == f"MatMul of {HARD}, in pass 1"
    assert found.operators_of == "fp32 in saved-model"


def test_a_healthy_file_has_nothing_to_explain(tmp_path: Path) -> None:
    model = small_model("mlp")
    found = explain(model, exported(model, tmp_path / "m.onnx", Choices(), None), PUZZLES)
    assert found
    assert found.conclusion.startswith("nothing: ")
    assert (found.operators, found.attempts, found.stored) == (None, None, ())


def test_scales_that_static_int8_puts_in_and_takes_out_are_no_error(tmp_path: Path) -> None:
    model = load_model(shipped_checkpoint("sudoku4"))
    shared, kind, puzzles = Shared(model), format_named("tflite"), probe_puzzles(model)
    golden = record(shared.runner, PUZZLES)
    with (
        fresh(shared, kind, Choices("int8-static"), puzzles) as static,
        fresh(shared, kind, Choices(), puzzles) as exact,
    ):
        calls = calls_of(exact.path, golden, 2)
        labels = labels_of(exact.path, layers(model))
        files, gates = (static.path, exact.path), GATES["int8-static"]
        assert walk_tflite(*files, calls, labels, gates, excluded=scaled(exact.path)).first is None
        found = walk_tflite(*files, calls, labels, gates)
    assert found.first is None or found.first.layer == "H_level/block/mix/swiglu/gate_up"


@pytest.mark.parametrize(
    ("suffix", "choices"),
    [
        ("onnx", Choices("int8", batch=2, recursion="rolled", keep=("*ffn/down",))),
        ("onnx", Choices("fp16", granularity="block")),
        ("tflite", Choices("int8", granularity="loop", keep=("*ffn/gate_up",))),
        ("tflite", Choices("fp32", recursion="unrolled")),
    ],
)
def test_choices_are_read_back_from_a_file(suffix: str, choices: Choices, tmp_path: Path) -> None:
    model = load_model(shipped_checkpoint("sudoku4"))
    path = exported(model, tmp_path / f"a.{suffix}", choices, None)
    again = exported(model, tmp_path / f"b.{suffix}", choices_of(path, model), None)
    assert path.read_bytes() == again.read_bytes()


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a file in SavedModel or ONNX or TFLite"):
        explain(small_model("mlp"), tmp_path / "m_saved_model", PUZZLES)
