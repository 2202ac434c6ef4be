"""The graphs of a SavedModel as plain TensorFlow graphs whose weights are constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.saved_model import weights_of
from trm_export.step.step_model import StepModel
from trm_runtime.drivers.quiet import unlogged
from trm_runtime.drivers.saved_model import load_engine
from trm_runtime.drivers.saved_model_folder import unpatterned

Array = np.ndarray[Any, Any]

STEP = ""  # the name of the step among its functions


@dataclasses.dataclass(frozen=True)
class Part:
    """One graph: the step itself, or the body or the condition of a loop in it.

    Attributes:
        proto: the GraphDef.
        inputs: names of the tensors that enter, in order.
        outputs: names of the tensors that leave, in order.
    """

    proto: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def unchanged(self) -> list[int]:
        """Indices of inputs that are returned unchanged, from turn to turn of a loop."""
        return [k for k, (a, b) in enumerate(zip(self.inputs, self.outputs, strict=True)) if a == b]


@dataclasses.dataclass(frozen=True)
class StepGraph:
    """The graph of one signature.

    Attributes:
        step: the step; its inputs are in the order of ``names``.
        names: the names of the inputs in the signature.
        outputs: the names of the outputs in the signature, in the order of the step's.
        functions: bodies and conditions of its loops.
        stored: node of a constant of the step -> its name; weights are named by `read_graph`.
    """

    step: Part
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    functions: Mapping[str, Part]
    stored: Mapping[str, str]

    def part(self, name: str) -> Part:
        """The step, or a function."""
        return self.step if name == STEP else self.functions[name]

    def called(self, node: str) -> str:
        """The name of a constant, given that of its node in the step."""
        return self.stored.get(node, node)

    @property
    def constants(self) -> dict[str, Array]:
        """Everything that is stored, by its name; see `stored`."""
        protos = [self.step.proto, *(part.proto for part in self.functions.values())]
        stored = {node: array for proto in protos for node, array in constants(proto).items()}
        return {self.called(node): array for node, array in stored.items()}


def constants(proto: Any) -> dict[str, Array]:
    """The constants of a GraphDef by the names of their nodes."""
    tf = load_engine()
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in proto.node
        if node.op == "Const"
    }


def graph_of(folder: Path, model: StepModel) -> StepGraph:
    """The graph of a folder that is an export of this model, weights under their short names."""
    contract = embedded_contract(folder)
    variables, known = weights_of(model.keras, contract), weights(model).items()
    names = [
        next((name for name, array in known if np.array_equal(array, variable)), variable.path)
        for variable in variables
    ]
    return read_graph(folder, contract.signature, names)


def read_graph(folder: Path, signature: str, weights: Sequence[str]) -> StepGraph:
    """Reads a folder that `trm_export.exporters.saved_model` wrote.

    Args:
        folder: the SavedModel.
        signature: the name of its step.
        weights: names of the model's weights, in the order in which they are stored.
    """
    tf = load_engine()
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    with unpatterned(folder) as path:
        loaded = tf.saved_model.load(path)
    call = loaded.signatures[signature]
    numbers = {id(variable.handle): n for n, variable in enumerate(loaded.stored)}
    stored = {
        inside.op.name: weights[numbers[id(outside)]]
        for outside, inside in call.graph.captures
        if id(outside) in numbers
    }
    with unlogged(tf.__version__):
        fixed = convert_variables_to_constants_v2(call, lower_control_flow=False)
    proto = fixed.graph.as_graph_def()
    step = Part(proto, _names(fixed.inputs), _names(fixed.outputs))
    functions = {}
    for definition in proto.library.function:
        graph = function_def_to_graph(definition)
        functions[definition.signature.name] = Part(
            graph.as_graph_def(), _names(graph.inputs), _names(graph.outputs)
        )
    entering, leaving = call.structured_input_signature[1], call.structured_outputs
    names = tuple(sorted(entering)), tuple(sorted(leaving))
    return StepGraph(step, names[0], names[1], functions, stored)


def _names(tensors: Sequence[Any]) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in tensors)
