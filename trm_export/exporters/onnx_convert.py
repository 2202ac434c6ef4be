"""Convert a step from TensorFlow to ONNX: one float32 graph with the contract's names.

The recursion is converted as a loop, whose body is one reasoning pass, and inlined afterwards:
tf2onnx needs time for every node, and most of its optimizers only look for patterns that a TRM
does not have (on sudoku9 2 s instead of 16 s, on a 5 M-parameter model with 21 passes much more).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import onnx
from onnx import numpy_helper

from trm_export.exporters import onnx_graph
from trm_export.exporters.format import Job, without_operators
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.onnx_matmul import straighten
from trm_export.exporters.onnx_operators import HANDLERS
from trm_export.exporters.onnx_portable import simplify
from trm_export.exporters.portable_ops import portable_for_onnx
from trm_export.exporters.saved_model import weights_of
from trm_export.model import is_own
from trm_export.step.signature import graph_function, incoming, outgoing
from trm_export.step.step_model import AnyModel, StepModel, adapt
from trm_runtime.contract import CarrySpec, StepContract, TensorSpec
from trm_runtime.drivers.quiet import unlogged

OPSET = 17
MAX_IR_VERSION = 10
HEADS = ("lm_head", "q_head")  # of our own model
_SCORES = 2  # at most, q_halt and q_continue
_OPTIMIZERS = ("fold_constants", "merge_duplication", "reshape_optimizer", "remove_identity",
               "remove_back_to_back")  # fmt: skip


def converted(job: Job, contract: StepContract, *, rolled: bool) -> onnx.ModelProto:
    """The graph, weights under their Keras names; no metadata yet. The caller may change it.

    Stored as bytes: an edited proto keeps the memory of everything that was ever part of it.

    Args:
        job: the model, and earlier conversions of it.
        contract: names, shapes and granularity.
        rolled: leave the recursion in a loop.
    """
    external = contract.puzzle_table_sha256 is not None
    key = ("onnx", contract.granularity, contract.batch, contract.carry, rolled, external)
    data = job.shared.once(key, lambda: _converted(job.model, contract, rolled).SerializeToString())
    return onnx.ModelProto.FromString(data)


def _converted(model: StepModel, contract: StepContract, rolled: bool) -> onnx.ModelProto:
    loops = rolled or (model.passes is not None and contract.granularity != "block")
    proto = _from_tensorflow(model, contract, rolled=loops)
    graph = proto.graph
    fixed = {spec.name for spec in (*incoming(contract), *outgoing(contract))}
    onnx_graph.prune(graph)
    onnx_graph.order(graph)
    stored = _constants(graph) | _recognised(model, graph)
    onnx_graph.rename(graph, _Names(fixed, stored))
    onnx_graph.capture_invariants(graph)
    onnx_graph.share(graph, weights(model))
    straighten(graph)
    onnx_graph.prune(graph)
    if not rolled:
        onnx_graph.unroll(graph)
    onnx_graph.prune(graph)
    for domain in [opset for opset in proto.opset_import if opset.domain]:
        proto.opset_import.remove(domain)  # tf2onnx names one that no node uses
    _declare(graph.input, incoming(contract))
    _declare(graph.output, outgoing(contract))
    proto.ir_version = min(proto.ir_version, MAX_IR_VERSION)
    simplify(proto)
    _number_nodes(graph)
    return proto


def _refuse_unknown(graph: onnx.GraphProto) -> None:
    """UsageError for operators of TensorFlow that tf2onnx has left as they are."""
    kinds = {node.op_type for part in onnx_graph.graphs(graph) for node in part.node}
    unknown = [kind for kind in kinds if not onnx.defs.has(kind, OPSET, "")]
    if unknown:
        raise without_operators("onnx", f"ONNX (opset {OPSET})", unknown)


def _number_nodes(graph: onnx.GraphProto) -> None:
    """Short, unique names: onnxruntime 1.18 builds names of fused nodes from them."""
    parts = list(onnx_graph.graphs(graph))
    for number, body in enumerate(parts[1:], 1):
        body.name = f"{graph.name}_body_{number}"
        for value in (*body.input, *body.output):
            for size in value.type.tensor_type.shape.dim:
                size.ClearField("dim_param")  # a number of tf2onnx's own
    nodes = (node for part in parts for node in part.node)
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"


def _from_tensorflow(model: StepModel, contract: StepContract, *, rolled: bool) -> onnx.ModelProto:
    import tensorflow as tf
    from tf2onnx import optimizer, tf_loader
    from tf2onnx.tfonnx import process_tf_graph

    function = graph_function(model, contract, rolled=rolled)
    entering, passed = incoming(contract), _passed(model, contract)

    def positional(*tensors: Any) -> dict[str, Any]:
        given = dict(zip([*specs, *passed], tensors, strict=True))
        values = [(variable, given[name]) for name, variable in passed.items()]
        with keras.StatelessScope(state_mapping=values, initialize_variables=False):
            return function(**{name: given[name] for name in specs})

    specs = {s.name: tf.TensorSpec(s.shape, s.dtype, name=s.name) for s in entering}
    stored = [tf.TensorSpec(v.shape, v.dtype, name=name) for name, v in passed.items()]
    with portable_for_onnx():
        traced = tf.function(positional, autograph=False).get_concrete_function(
            *specs.values(), *stored
        )
    inputs = [x.name for x in traced.inputs if x.dtype != tf.resource]
    names = dict(zip(inputs, [*specs, *passed], strict=True))
    outputs = {x.name: name for name, x in traced.structured_outputs.items()}
    with tf.device("/cpu:0"), unlogged(tf.__version__):
        frozen = tf_loader.from_function(traced, inputs, list(outputs))
    with tf.Graph().as_default() as graph, tf.device("/cpu:0"), _tf2onnx_unlogged():
        tf.import_graph_def(frozen, name="")
        converted_graph = process_tf_graph(
            graph,
            opset=OPSET,
            custom_op_handlers=HANDLERS,
            input_names=inputs,
            output_names=list(outputs),
            tensors_to_rename=names | outputs,
        )
    available = optimizer._get_optimizers()
    chosen = {name: available[name] for name in _OPTIMIZERS}
    optimized = optimizer.optimize_graph(converted_graph, catch_errors=False, optimizers=chosen)
    proto = optimized.make_model(f"act_{contract.granularity}")
    _refuse_unknown(proto.graph)
    _store(proto.graph, passed)
    return proto


@contextmanager
def _tf2onnx_unlogged() -> Iterator[None]:
    """No lines and tracebacks of tf2onnx: what it could not convert, `_refuse_unknown` names."""
    log = logging.getLogger("tf2onnx")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _passed(model: StepModel, contract: StepContract) -> dict[str, Any]:
    """The variables of our own model, which enter the traced graph as inputs, by their names there.

    As constants they would be copied by TensorFlow and tf2onnx some 20 times. Of other models they
    are constants, because tf2onnx brings what is computed of them alone into one piece.
    """
    own = is_own(model.keras)
    variables = weights_of(model.keras, contract) if own else []
    return {f"weight_{number}": variable for number, variable in enumerate(variables)}


def _store(graph: onnx.GraphProto, passed: Mapping[str, Any]) -> None:
    """Stores the values of the inputs that are variables."""
    entering = [value for value in graph.input if value.name not in passed]
    del graph.input[:]
    graph.input.extend(entering)
    for name, variable in passed.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(variable), name))


class _Names:
    """Short names instead of tf2onnx's, which take more bytes than the weights of a small model."""

    def __init__(self, fixed: set[str], weights: dict[str, str]) -> None:
        self._new = {**weights, **{name: name for name in fixed}}  # a constant may be an output
        self._taken = set(self._new.values())

    def __call__(self, name: str) -> str:
        if name not in self._new:
            self._new[name] = next(x for x in self._candidates(name) if x not in self._taken)
            self._taken.add(self._new[name])
        return self._new[name]

    @staticmethod
    def _candidates(name: str) -> Iterator[str]:
        parts = [re.sub(r"(_+\d+)+$", "", part) for part in name.partition(":")[0].split("/")]
        short = "/".join(parts[-3:])
        yield short
        yield from (f"{short}_{i}" for i in range(2, 1 << 20))


def weight_names(model: AnyModel) -> set[str]:
    """The names of the model's weights in a graph, such as ``H_level/block_1/ffn/down``."""
    return set(weights(model))


def body_names(model: AnyModel) -> set[str]:
    """The same without the heads, which compute answers and halting scores and are small.

    The heads of `TRM` are known by name; those of other models by their width, which is that of the
    vocabulary or of the halting scores.
    """
    model = adapt(model)
    saved = weights(model)
    if is_own(model.keras):
        return set(saved) - set(HEADS)
    return {name for name, array in saved.items() if not _is_head(array.shape, model.vocab_size)}


def _is_head(shape: tuple[int, ...], vocab_size: int) -> bool:
    return len(shape) == 2 and (shape[1] <= _SCORES or shape[1] == vocab_size)


def _constants(graph: onnx.GraphProto) -> dict[str, str]:
    """Numbered names for the constants: those of tf2onnx differ from run to run."""
    parts = onnx_graph.graphs(graph)
    names = dict.fromkeys(tensor.name for part in parts for tensor in part.initializer)
    return {name: f"constant_{number}" for number, name in enumerate(names, 1)}


def _recognised(model: StepModel, graph: onnx.GraphProto) -> dict[str, str]:
    """Initializer -> name of the Keras weight that it is, recognised by its values.

    Its shape may differ: Keras's attention layers keep matrices as (hidden, heads, size), which
    tf2onnx flattens. Of several with its values, such as zeros, it is one of its shape.
    """
    left = weights(model)
    names = {}
    for part in onnx_graph.graphs(graph):
        for tensor in part.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) == 0:
                continue
            values = numpy_helper.to_array(tensor)
            same = [n for n, x in left.items() if np.array_equal(x.ravel(), values.ravel())]
            name = next((n for n in same if left[n].shape == values.shape), next(iter(same), None))
            if name is not None:
                names[tensor.name] = name
                del left[name]
    return names


def _declare(values: Any, specs: Sequence[TensorSpec | CarrySpec]) -> None:
    """Writes the contract's shapes on the graph's tensors; tf2onnx may have lost some."""
    shapes = {spec.name: spec.shape for spec in specs}
    for value in values:
        dims = value.type.tensor_type.shape
        dims.ClearField("dim")
        for size in shapes[value.name]:
            dim = dims.dim.add()
            if size is None:
                dim.dim_param = "batch"
            else:
                dim.dim_value = size
