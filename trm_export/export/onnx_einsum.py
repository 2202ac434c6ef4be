"""Turn the `Einsum`s of an ONNX graph that multiply a state by a weight into plain `MatMul`s.

Keras's attention layers keep their matrices as ``(hidden, heads, size)`` and multiply by `einsum`;
engines have their fast kernels, and our quantizer its eyes, on `MatMul`. Knows nothing about
models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from trm_export.export.onnx_graph import graphs, replace


def multiply_plainly(graph: GraphProto) -> None:
    """Rewrites every such node, in the graph and its bodies.

    The weight becomes a matrix under its old name. Leaves nodes and initializers behind that
    nothing needs, see `onnx_graph.prune`.
    """
    for part in graphs(graph):
        weights = {tensor.name: tensor for tensor in part.initializer}
        nodes: list[NodeProto] = []
        for node in part.node:
            axes = _axes(node, weights)
            nodes += [node] if axes is None else _plain(part, node, weights, *axes)
        replace(part, nodes)


def _axes(node: NodeProto, weights: Mapping[str, TensorProto]) -> tuple[int, int] | None:
    """How many axes are summed over, and how many the state keeps; None for another `Einsum`.

    ``rows summed, summed kept -> rows kept`` is a product of matrices whatever the letters.
    """
    if node.op_type != "Einsum" or len(node.input) != 2 or node.input[1] not in weights:
        return None
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
    (state, weight), result = equation.split("->")[0].split(","), equation.split("->")[-1]
    state, weight, result = (text.strip() for text in (state, weight, result))
    summed = [letter for letter in state if letter not in result]
    rows, kept = state[: len(state) - len(summed)], weight[len(summed) :]
    same = state == rows + "".join(summed) and weight == "".join(summed) + kept
    plain = same and result == rows + kept and len(set(weight)) == len(weight)
    return (len(summed), len(rows)) if plain and summed and kept else None


def _plain(
    graph: GraphProto,
    node: NodeProto,
    weights: Mapping[str, TensorProto],
    summed: int,
    rows: int,
) -> list[NodeProto]:
    """The state with its last axes flattened, the product, and the result in its shape."""
    tensor = weights[node.input[1]]
    sizes, out = list(tensor.dims), node.output[0]
    outer, inner = math.prod(sizes[:summed]), math.prod(sizes[summed:])
    if len(sizes) > 2:
        matrix = numpy_helper.to_array(tensor).reshape(outer, inner)
        tensor.CopyFrom(numpy_helper.from_array(matrix, tensor.name))
    flat, product = node.input[0], out
    nodes = []
    if summed > 1:
        flat = f"{out}/flat"
        nodes.append(_reshaped(graph, node.input[0], flat, [0] * rows + [outer]))
    if len(sizes) - summed > 1:
        product = f"{out}/product"
    nodes.append(helper.make_node("MatMul", [flat, tensor.name], [product]))
    if product != out:
        nodes.append(_reshaped(graph, product, out, [0] * rows + sizes[summed:]))
    return nodes


def _reshaped(graph: GraphProto, x: str, out: str, shape: list[int]) -> NodeProto:
    """A `Reshape`; 0 keeps the size of that axis."""
    name = f"{out}/shape"
    graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(shape)], shape))
    return helper.make_node("Reshape", [x, name], [out])
