"""Channels of similar size, as `smoothing` makes them, put into an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, numpy_helper

from trm_export.exporters.onnx_graph import graphs, rename
from trm_export.exporters.onnx_products import multiplications

Array = np.ndarray[Any, Any]


def smooth(graph: GraphProto, changed: Mapping[str, Array]) -> None:
    """Replaces stored matrices, in place.

    Values whose channels are divided then get another name, so that they are not taken for those
    of the float32 graph.
    """
    for tensor in graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    downs = {name for name in changed if name.endswith("/down")}
    names = {name for part in graphs(graph) for name in _divided(part, downs)}
    rename(graph, lambda name: f"{name}/divided" if name in names else name)


def _divided(graph: GraphProto, downs: set[str]) -> Iterator[str]:
    """`up`, and its product with ``silu(gate)`` that enters a ``down`` matrix, maybe flattened."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in multiplications(graph, downs):
        product = makers[node.input[0]]
        yield product.output[0]
        if product.op_type == "Reshape":
            product = makers[product.input[0]]
            yield product.output[0]
        yield from (x for x in product.input if x in makers and makers[x].op_type == "Slice")
