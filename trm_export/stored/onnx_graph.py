"""The digests of an ONNX graph; see `trm_export.stored.graph`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from trm_export.exporters.onnx_graph import graphs
from trm_export.stored.graph import Array, Key, Keys, Known, StoredGraph, argument, made


def constants(path: Path) -> dict[str, Array]:
    """Every initializer, those of loop bodies included."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for graph in graphs(_loaded(path).graph)
        for tensor in graph.initializer
    }


def stored_graph(path: Path, known: Known) -> StoredGraph:
    """The graph of a file; `known` see `Keys`."""
    model, keys = _loaded(path), Keys(known)
    opsets = made(*sorted(f"{one.domain} {one.version}" for one in model.opset_import))
    scope = {
        value.name: made("input", value.name, opsets, _type(value)) for value in model.graph.input
    }
    outputs = _outputs(model.graph, scope, keys, 0)
    named = zip(model.graph.output, outputs, strict=True)
    return keys.graph({value.name: key for value, key in named})


def _loaded(path: Path) -> Any:
    return onnx.load_model_from_string(path.read_bytes())


def _outputs(graph: Any, outside: Mapping[str, Key], keys: Keys, depth: int) -> list[Key]:
    """The digests of the outputs of a graph, which reads values of the graphs around it too.

    The arguments of a body are known by their position and by how many bodies are around it. A copy
    is what it copies: tf2onnx copies one of two equal outputs of a body, now this and now that.
    """
    scope = dict(outside)
    for tensor in graph.initializer:
        scope[tensor.name] = keys.constant(tensor.name, numpy_helper.to_array(tensor))
    for node in graph.node:
        reads, facts = [scope[name] if name else "" for name in node.input], []
        if node.op_type == "Identity" and not node.domain:
            scope[node.output[0]] = reads[0]
            continue
        for attribute in sorted(node.attribute, key=lambda one: one.name):
            if attribute.HasField("g"):
                bound = {v.name: argument(depth, k) for k, v in enumerate(attribute.g.input)}
                facts.append(attribute.name)
                reads += _outputs(attribute.g, {**scope, **bound}, keys, depth + 1)
            else:
                facts.append(_fact(attribute))
        key = keys.operator(node.op_type, node.output[0], reads, node.domain, *facts)
        scope.update((name, f"{key}:{k}") for k, name in enumerate(node.output) if name)
    return [scope[value.name] for value in graph.output]


def _fact(attribute: Any) -> str:
    """An attribute with its value; a stored tensor in it without its name."""
    if attribute.HasField("t"):
        array = np.asarray(numpy_helper.to_array(attribute.t))
        return f"{attribute.name} {array.dtype} {array.shape} {array.tobytes().hex()}"
    return str(attribute.SerializeToString(deterministic=True).hex())


def _type(value: Any) -> str:
    """Element type and shape; a free dimension without its name."""
    kind = value.type.tensor_type
    return f"{kind.elem_type} {[size.dim_value for size in kind.shape.dim]}"
