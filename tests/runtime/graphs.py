"""The toy model of `fakes` as a hand-made ONNX step graph, whole or deliberately broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from tests.runtime.fakes import MAX_STEPS, Q_CONTINUE, VOCAB, WIDTH, make_contract
from trm_runtime import StepContract
from trm_runtime.drivers.onnx_file import sealed

OPSET, IR_VERSION = 17, 8  # what onnxruntime 1.18 and older open

_TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
    "int64": TensorProto.INT64,
}
_CONSTANTS: dict[str, Any] = {
    "column": np.array([-1, 1], np.int64),
    "plane": np.array([-1, 1, 1], np.int64),
    "first": np.array(0, np.int64),
    "one": np.array(1, np.int32),
    "zero": np.array(0, np.int32),
    "one_f": np.array(1, np.float32),
    "half_f": np.array(0.5, np.float32),
    "vocab": np.array(VOCAB, np.int32),
    "off_on": np.array([0, 1], np.float32),
    "limit": np.array(MAX_STEPS, np.int32),
    "continue": np.array(Q_CONTINUE, np.float32),
}
_IDENTIFIERS = (
    ["halted", "puzzle_identifiers", "current_puzzle_identifiers"],
    ["current_puzzle_identifiers_next"],
)


def build(contract: StepContract | None = None) -> ModelProto:
    """The toy step for a contract of `make_contract`; its metadata hold the contract."""
    contract = contract or make_contract()
    inputs = [_value(spec.name, spec) for spec in (*contract.inputs, *contract.carry)]
    outputs = [_value(spec.name, spec) for spec in contract.outputs]
    outputs += [_value(spec.next, spec) for spec in contract.carry]
    init = np.zeros((1, contract.seq_len, WIDTH), np.float32)
    constants = {**_CONSTANTS, "init": init}.items()
    tensors = [numpy_helper.from_array(value, name) for name, value in constants]
    graph = helper.make_graph(_nodes(), "toy", inputs, outputs, tensors)
    if contract.num_puzzle_identifiers is not None:
        graph.node.append(helper.make_node("Where", *_IDENTIFIERS))
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    helper.set_model_props(model, {"trm_contract": contract.to_json()})
    return model


def write(path: Path, model: ModelProto | None = None) -> Path:
    """Save a model as one file, with its checksum."""
    path.write_bytes(sealed((model or build()).SerializeToString()))
    return path


def rename_input(graph: GraphProto, old: str, new: str) -> None:
    """Give a graph input another name, wherever it is used."""
    for value in graph.input:
        value.name = new if value.name == old else value.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _value(name: str, spec: Any) -> Any:
    shape = ["batch" if size is None else size for size in spec.shape]
    return helper.make_tensor_value_info(name, _TYPES[spec.dtype], shape)


def _nodes() -> list[Any]:
    node = helper.make_node
    return [
        node("Reshape", ["halted", "column"], ["halted_2"]),
        node("Reshape", ["halted", "plane"], ["halted_3"]),
        node("Where", ["halted_2", "inputs", "current_inputs"], ["current_inputs_next"]),
        node("Where", ["halted", "zero", "steps"], ["steps_reset"]),
        node("Where", ["halted_3", "init", "z_H"], ["z_H_reset"]),
        node("Where", ["halted_3", "init", "z_L"], ["z_L_reset"]),
        node("Add", ["steps_reset", "one"], ["steps_next"]),
        node("Add", ["z_H_reset", "one_f"], ["z_H_next"]),
        node("Add", ["z_L_reset", "one_f"], ["z_L_next"]),
        node("GreaterOrEqual", ["steps_next", "limit"], ["halted_next"]),
        node("Gather", ["z_H_next", "first"], ["thought"], axis=2),
        node("Cast", ["thought"], ["thought_int"], to=TensorProto.INT32),
        node("Add", ["current_inputs_next", "thought_int"], ["sum"]),
        node("Mod", ["sum", "vocab"], ["answer"]),
        node("OneHot", ["answer", "vocab", "off_on"], ["logits"]),
        node("Gather", ["current_inputs_next", "first"], ["goal"], axis=1),
        node("Sub", ["steps_next", "goal"], ["over"]),
        node("Cast", ["over"], ["over_f"], to=TensorProto.FLOAT),
        node("Add", ["over_f", "half_f"], ["q_halt_logits"]),
        node("Sub", ["over_f", "over_f"], ["nought"]),
        node("Add", ["nought", "continue"], ["q_continue_logits"]),
    ]
