"""Smaller numbers in an ONNX graph: half-precision weights, and two ways to 8 bits.

Works on `onnx.GraphProto` in place, bodies of loops included; weights that several nodes share stay
shared. Inputs, outputs, carry and everything between the matrix multiplications stay float32. The
8-bit ways quantise the multiplications inside the reasoning stack; the heads, a hundredth of the
weights, decide answers and halting and stay float32.

**7 bits of 8.** Weights are int8, symmetric, one scale an output channel, and use -63..63 only.
onnxruntime multiplies uint8 activations by int8 weights, and on x86-64 without VNNI the pair
products are added in 16 bits that saturate (VPMADDUBSW): two of 255 x 127 do not fit, two of
255 x 63 do (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "reduce
range"). MEASURED
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from trm_export.export.onnx_graph import graphs, prune, replace

Array = np.ndarray[Any, Any]

HEADS = ("lm_head", "q_head")
_LARGEST = 63  # of a weight; see "7 bits of 8"
_LEAST_HALVED = 256  # elements of a matrix that is worth a cast


@dataclass(frozen=True)
class Weight:
    """A stored weight, and the graph that it lies in."""

    tensor: TensorProto  # float32
    home: GraphProto

    @property
    def name(self) -> str:
        """As in Keras, ``H_level/block_1/ffn/down`` say."""
        return self.tensor.name

    def store(self, ending: str, values: Array) -> str:
        """Puts an array beside the weight, once; returns its name."""
        name = f"{self.name}/{ending}"
        if all(tensor.name != name for tensor in self.home.initializer):
            self.home.initializer.append(numpy_helper.from_array(values, name))
        return name


def weights(graph: GraphProto, names: set[str]) -> dict[str, Weight]:
    """The matrices among the named initializers, wherever they lie."""
    return {
        tensor.name: Weight(tensor, part)
        for part in graphs(graph)
        for tensor in part.initializer
        if tensor.name in names and len(tensor.dims) >= 2
    }


def halve(graph: GraphProto, names: set[str]) -> None:
    """Stores the named matrices as float16 and casts them back where they lie.

    An engine casts constants once, when it opens the file.
    """
    for weight in weights(graph, names).values():
        values = numpy_helper.to_array(weight.tensor)
        if values.size < _LEAST_HALVED:
            continue
        half = weight.store("half", values.astype(np.float16))
        cast = helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT)
        weight.home.initializer.remove(weight.tensor)
        replace(weight.home, [cast, *weight.home.node])


def quantise(
    graph: GraphProto, names: set[str], multiply: Callable[[NodeProto, Weight], list[NodeProto]]
) -> None:
    """Replaces every multiplication by a named matrix outside the heads by what `multiply` says."""
    known = weights(graph, {name for name in names if name not in HEADS})
    for part in list(graphs(graph)):
        replace(part, _replaced(part, known, multiply))
    prune(graph)


def _replaced(
    part: GraphProto,
    known: Mapping[str, Weight],
    multiply: Callable[[NodeProto, Weight], list[NodeProto]],
) -> Iterator[NodeProto]:
    for node in part.node:
        if node.op_type == "MatMul" and node.input[1] in known:
            yield from multiply(node, known[node.input[1]])
        else:
            yield node


def quantised_weight(values: Array) -> tuple[Array, Array]:
    """``(K, N)`` float32 -> int8 of the same shape and the scale ``(N,)`` of each column."""
    scale = np.abs(values).max(axis=0) / _LARGEST
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


def dynamic(node: NodeProto, weight: Weight) -> list[NodeProto]:
    """8-bit multiplication whose activation is scaled as it comes, one scale for the tensor.

    The five nodes are those that onnxruntime fuses into one.
    """
    integers, scales = quantised_weight(numpy_helper.to_array(weight.tensor))
    matrix, columns = weight.store("int8", integers), weight.store("scale", scales)
    out = node.output[0]
    q, scale, zero, total, real, step = (f"{out}/{x}" for x in ("q", "s", "z", "sum", "f", "step"))
    return [
        helper.make_node("DynamicQuantizeLinear", [node.input[0]], [q, scale, zero]),
        helper.make_node("MatMulInteger", [q, matrix, zero], [total]),
        helper.make_node("Cast", [total], [real], to=TensorProto.FLOAT),
        helper.make_node("Mul", [scale, columns], [step]),
        helper.make_node("Mul", [real, step], [out]),
    ]
