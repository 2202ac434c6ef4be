"""Smaller precisions of an ONNX graph: float16 weights, and dynamic and static int8.

Works on `onnx.GraphProto` in place, bodies of loops included; a weight that many nodes share is
stored once. Inputs, outputs, carry and everything between the multiplications stay float32. The
int8 precisions quantise the multiplications of the reasoning stack; the heads, a hundredth of the
weights, compute answers and halting scores and stay float32. Everything is QDQ of ONNX's own
operators, which onnxruntime fuses into 8-bit kernels and every other engine can compute too.

**Weights** are int8, symmetric, one scale an output channel, and within -64..64. onnxruntime
multiplies uint8 activations by int8 weights, and x86-64 without VNNI adds the products in pairs, in
16 bits that saturate: two of 255 x 127 do not fit, two of 255 x 64 do (onnxruntime.ai, "Quantize
ONNX models", on reduce_range). Least forced cosine on a CPU with AVX2 alone, sudoku4: 0.985 with
weights up to 127, 0.9968 with this limit, 0.9972 with uint8 weights, whose kernel does not
saturate and takes 1.5 times as long. So the limit costs little accuracy and is right on every CPU.

**Activations** have heavy tails where they enter a `down` matrix: with one scale for a whole tensor
(onnxruntime's own `quantize_dynamic`) sudoku9 falls to a cosine of 0.947. Dynamic int8 therefore
takes one scale a row, 0.9992; a row's result then does not depend on the other rows either. Static
int8 has only one scale; see `static`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from trm_export.exporters.calibration import TensorRange
from trm_export.exporters.onnx_graph import bodies, prune, replace

Array = np.ndarray[Any, Any]

_LARGEST = 64  # absolute value of a quantised weight
_ROW_LEVELS = 127  # of an activation on either side of 128, where every row has its scale
_SMALLEST_ROW = 1e-30  # least divisor of a row, for rows of zeros
_LEAST_HALVED = 256  # least elements of a matrix that is stored in float16


@dataclass(frozen=True)
class Weight:
    """A stored matrix, and the graph that it lies in: the outermost one."""

    tensor: TensorProto  # float32
    home: GraphProto

    @property
    def name(self) -> str:
        """As in Keras, such as ``H_level/block_1/ffn/down``."""
        return self.tensor.name

    @property
    def values(self) -> Array:
        """``(K, N)`` float32."""
        return numpy_helper.to_array(self.tensor)

    def store(self, ending: str, values: Array | np.generic) -> str:
        """Puts an array beside the weight, once; returns its name."""
        name = f"{self.name}/{ending}"
        if all(tensor.name != name for tensor in self.home.initializer):
            self.home.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name


Multiply = Callable[[NodeProto, Weight], list[NodeProto]]


def matrices(graph: GraphProto, names: set[str]) -> dict[str, Weight]:
    """The matrices among the named initializers; loop bodies read them from outside."""
    return {
        tensor.name: Weight(tensor, graph)
        for tensor in graph.initializer
        if tensor.name in names and len(tensor.dims) == 2
    }


def halve(graph: GraphProto, names: set[str]) -> None:
    """Stores the named matrices as float16, with a cast back to float32.

    An engine casts constants once, when it opens the file. A value that is too large becomes
    infinite, which fails the gate of the precision.
    """
    casts = []
    for weight in matrices(graph, names).values():
        if weight.values.size >= _LEAST_HALVED:
            with np.errstate(over="ignore"):
                half = weight.store("half", weight.values.astype(np.float16))
            casts.append(helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT))
            weight.home.initializer.remove(weight.tensor)
    replace(graph, [*casts, *graph.node])


def multiplications(graph: GraphProto, names: set[str]) -> Iterator[NodeProto]:
    """The nodes of the graph itself that multiply by a named matrix."""
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in names:
            yield node


def quantise(graph: GraphProto, names: set[str], multiply: Multiply) -> None:
    """Replaces every such multiplication by the nodes of ``multiply``."""
    _quantise(graph, matrices(graph, names), multiply)
    prune(graph)


def _quantise(graph: GraphProto, known: Mapping[str, Weight], multiply: Multiply) -> None:
    for body in [body for node in graph.node for body in bodies(node)]:  # before they are copied
        _quantise(body, known, multiply)
    products = {node.output[0] for node in multiplications(graph, set(known))}
    nodes: list[NodeProto] = []
    for node in graph.node:
        is_product = not products.isdisjoint(node.output)
        nodes += multiply(node, known[node.input[1]]) if is_product else [node]
    replace(graph, nodes)


def quantised_weight(values: Array) -> tuple[Array, Array]:
    """``(K, N)`` float32 -> int8 of the same shape and the scale ``(N,)`` of each column."""
    scale = np.abs(values).max(axis=0) / _LARGEST
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


def dynamic(node: NodeProto, weight: Weight) -> list[NodeProto]:
    """8-bit multiplication of rows that are first divided by their largest absolute value."""
    x, out = node.input[0], node.output[0]
    size, most, some, unit, product = (f"{out}/{s}" for s in ("abs", "max", "some", "x", "y"))
    least = weight.store("least", np.float32(_SMALLEST_ROW))
    level, middle = np.float32(1 / _ROW_LEVELS), np.uint8(128)
    return [
        helper.make_node("Abs", [x], [size]),
        helper.make_node("ReduceMax", [size], [most], axes=[-1], keepdims=1),
        helper.make_node("Max", [most, least], [some]),
        helper.make_node("Div", [x, some], [unit]),
        *_product(weight, unit, product, "row", level, middle),
        helper.make_node("Mul", [product, some], [out]),
    ]


def static(ranges: Mapping[str, TensorRange]) -> Multiply:
    """8-bit multiplication with one calibrated scale a tensor.

    Where a tensor has large outliers, so that most values get few levels (`TensorRange.fine`), the
    rounding error of the first product is rounded again, 255 times finer, and multiplied by the
    same matrix: 16 bits of activation in two 8-bit products. Least forced cosine on sudoku9: 0.82
    with one product everywhere, 0.96 with channels scaled as in SmoothQuant (arXiv 2211.10438,
    strength 0.75), 0.9988 with two products.
    """

    def multiply(node: NodeProto, weight: Weight) -> list[NodeProto]:
        x, out, grid = node.input[0], node.output[0], ranges[weight.name]
        scale, zero = np.float32(grid.scale), np.uint8(grid.zero_point)
        if not grid.fine:
            return _product(weight, x, out, "in", scale, zero)
        first, second, rest, seen = (f"{out}/{s}" for s in ("coarse", "fine", "rest", "seen"))
        coarse = _product(weight, x, first, "in", scale, zero)
        return [
            *coarse,
            helper.make_node("DequantizeLinear", [coarse[0].output[0], *coarse[0].input[1:]],
                             [seen]),
            helper.make_node("Sub", [x, seen], [rest]),
            *_product(weight, rest, second, "rest", np.float32(scale / 255), np.uint8(128)),
            helper.make_node("Add", [first, second], [out]),
        ]  # fmt: skip

    return multiply


def _product(
    weight: Weight, x: str, out: str, kind: str, scale: np.float32, zero: np.uint8
) -> list[NodeProto]:
    """``Q(x) @ Q(weight)``, both dequantised; the first node makes the uint8 activation."""
    integers, columns = quantised_weight(weight.values)
    stored = [weight.store("int8", integers), weight.store("scale", columns),
              weight.store("zero", np.zeros(columns.shape, np.int8))]  # fmt: skip
    grid = [weight.store(f"{kind}_scale", scale), weight.store(f"{kind}_zero", zero)]
    q, real, matrix = (f"{out}/{s}" for s in ("q", "dq", "w"))
    return [
        helper.make_node("QuantizeLinear", [x, *grid], [q]),
        helper.make_node("DequantizeLinear", [q, *grid], [real]),
        helper.make_node("DequantizeLinear", stored, [matrix], axis=1),
        helper.make_node("MatMul", [real, matrix], [out]),
    ]
