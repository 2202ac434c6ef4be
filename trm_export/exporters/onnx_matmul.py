"""Simplify the matrix multiplications of an ONNX graph that tf2onnx wrote.

TensorFlow multiplies a state by a matrix in two dimensions, and computes the shapes around that at
run time: eight nodes where ONNX needs one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, numpy_helper

from trm_export.exporters.onnx_graph import graphs

Array = np.ndarray[Any, Any]
Makers = Mapping[str, NodeProto]  # value -> the node that computes it


def straighten(graph: GraphProto) -> None:
    """Lets `MatMul` take its ``(..., K)`` state directly, instead of flattened and reshaped back.

    Leaves nodes that nothing needs behind, see `onnx_graph.prune`.
    """
    for part in graphs(graph):
        makers = {name: node for node in part.node for name in node.output}
        constants = {t.name: numpy_helper.to_array(t) for t in part.initializer if t.dims != []}
        for node in part.node:
            if node.op_type == "Reshape" and _undoes_flattening(node, makers, constants):
                product = makers[node.input[0]]
                product.input[0] = makers[product.input[0]].input[0]
                product.output[0], node.output[0] = node.output[0], product.output[0]


def _undoes_flattening(node: NodeProto, makers: Makers, constants: Mapping[str, Array]) -> bool:
    """``Reshape(MatMul(Reshape(x, (-1, K)), w), (*x.shape[:-1], N))``, its shape in pieces."""
    product = makers.get(node.input[0])
    flat = makers.get(product.input[0]) if product and product.op_type == "MatMul" else None
    if flat is None or flat.op_type != "Reshape":
        return False
    rows = constants.get(flat.input[1], np.zeros(0))
    shape = _before_casts(node.input[1], makers)
    if not (np.array_equal(rows[:1], [-1]) and len(rows) == 2 and shape.op_type == "Concat"):
        return False
    if len(shape.input) != 2 or len(constants.get(shape.input[1], ())) != 1:
        return False
    kept = _before_casts(shape.input[0], makers)
    source = _before_casts(kept.input[0], makers) if kept.op_type == "Gather" else kept
    axes = constants.get(kept.input[1], np.zeros(0)) if kept.op_type == "Gather" else np.zeros(0)
    same = source.op_type == "Shape" and source.input[0] == flat.input[0]
    return bool(same and np.array_equal(axes, np.arange(len(axes))))


def _before_casts(name: str, makers: Makers) -> NodeProto:
    """The node behind a value, past any casts; an empty one for an input or a constant."""
    node = makers.get(name, NodeProto())
    while node.op_type == "Cast":
        node = makers.get(node.input[0], NodeProto())
    return node
