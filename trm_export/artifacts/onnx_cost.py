"""Memory and multiply-accumulates of an `.onnx` file, by its graph. Runs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx

from trm_export.device_cost import (
    EXACT,
    DeviceCost,
    MemoryPart,
    Use,
    device_cost,
    of_a_row,
    peak,
    scratch_of,
    states_of,
)
from trm_runtime.contract import StepContract

_PRODUCTS = ("MatMul", "MatMulInteger", "Gemm")
_PASSED_ON = ("Identity", "Cast")
_DEPTH = 2  # of loops in loops
_LARGE = 1 << 28  # bytes of a file whose shapes are not worked out

Shapes = Mapping[str, tuple[tuple[int, ...], int]]  # name -> shape and bytes of an element


def onnx_cost(model: Any, size: int, weights: int, contract: StepContract) -> DeviceCost:
    """The needs of a file whose initializers have so many bytes, which an engine has in memory."""
    states = states_of(contract)
    most, step = _followed(model, size, contract)
    parts = (
        MemoryPart("weights", weights, EXACT),
        states,
        scratch_of(most, states),
    )
    return device_cost(size, parts, of_a_row(step, contract), contract)


def _followed(model: Any, size: int, contract: StepContract) -> tuple[int | None, int | None]:
    """Peak and multiply-accumulates of a call; None where a shape is not known.

    KeyError inside: a tensor that counts has no fixed shape.
    """
    if size > _LARGE:
        return None, None
    try:
        rows = contract.batch or 1
        graph = _with_shapes(model, rows).graph
        shapes = dict(_shapes(graph, rows))
        held = [value.name for value in (*graph.input, *graph.output)]
        return peak([*_uses(graph, shapes)], _bytes(shapes), held), _macs(graph, shapes)
    except Exception:  # a graph that another tool changed may have anything in it
        return None, None


def _with_shapes(model: Any, rows: int) -> Any:
    """The model for so many rows, with the shapes of its tensors.

    ONNX takes it that the state of a loop may change its shape; that of ours does not.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = rows
    for _ in range(_DEPTH):
        fixed = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
        _fix_states(fixed.graph)
    return onnx.shape_inference.infer_shapes(fixed, data_prop=True)


def _fix_states(graph: Any, outer: Mapping[str, Any] | None = None) -> None:
    """Gives the state of every loop the shape that it enters with, in the body and as a result."""
    known = [value for value in graph.value_info if _is_fixed(value)]
    del graph.value_info[:]  # what is not fixed would stay so
    graph.value_info.extend(known)
    types = dict(outer or {})
    types |= {value.name: value.type for value in (*graph.input, *graph.value_info)}
    described = {value.name: value for value in graph.value_info}
    types |= {t.name: _type_of(t) for t in graph.initializer}
    for node in graph.node:
        for body in _bodies(node):
            for name, inside, result in zip(
                node.input[2:], body.input[2:], node.output, strict=False
            ):
                if name in types:
                    inside.type.CopyFrom(types[name])
                    value = described.get(result) or graph.value_info.add(name=result)
                    value.type.CopyFrom(types[name])
                    types[result] = types[name]
            _fix_states(body, types)


def _type_of(tensor: Any) -> Any:
    return onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)


def _shapes(graph: Any, rows: int) -> Iterator[tuple[str, tuple[tuple[int, ...], int]]]:
    """Every tensor of known sizes, in bodies too; a first size that is not known is the rows."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        for dim in tensor.shape.dim[:1]:
            dim.dim_value = dim.dim_value if dim.HasField("dim_value") else rows
        if _is_fixed(value):
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            yield value.name, (tuple(dim.dim_value for dim in tensor.shape.dim), kind.itemsize)
    for node in graph.node:
        for body in _bodies(node):
            yield from _shapes(body, rows)


def _is_fixed(value: Any) -> bool:
    """Whether the type and every size of a tensor are known."""
    tensor = value.type.tensor_type
    sizes = all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    return bool(tensor.elem_type) and tensor.HasField("shape") and sizes


def _bytes(shapes: Shapes) -> dict[str, int]:
    return {name: math.prod(shape) * size for name, (shape, size) in shapes.items()}


def _bodies(node: Any) -> list[Any]:
    graphs = [graph for a in node.attribute for graph in (a.g, *a.graphs)]
    return [graph for graph in graphs if graph.node]


def _uses(graph: Any, shapes: Shapes) -> Iterator[Use]:
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        inner, outer = 0, [name for name in node.input if name not in constants]
        for body in _bodies(node):
            held = [value.name for value in (*body.input, *body.output)]
            uses = [*_uses(body, shapes)]
            inner = max(inner, peak(uses, _bytes(shapes), held))
            made = {name for use in uses for name in use.writes} | set(held)
            outer += [name for use in uses for name in use.reads if name not in made]
        written = [name for name in node.output if name]
        if not all(name in shapes for name in written):
            raise KeyError(f"a shape of {written}")
        yield Use(outer, written, inner)


def _macs(graph: Any, shapes: Shapes, constants: Mapping[str, Any] | None = None) -> int:
    """Multiply-accumulates of a graph; a loop whose trips depend on data counts once."""
    known = {**(constants or {}), **{tensor.name: tensor for tensor in graph.initializer}}
    total = 0
    for node in graph.node:
        for body in _bodies(node):
            total += _trips(body, known) * _macs(body, shapes, known)
        if node.op_type in _PRODUCTS:
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            out, left = (_shape(name, shapes, known) for name in (node.output[0], node.input[0]))
            total += math.prod(out) * left[-2 if turned else -1]
    return total


def _shape(name: str, shapes: Shapes, constants: Mapping[str, Any]) -> tuple[int, ...]:
    if name in constants:
        return tuple(constants[name].dims)
    return shapes[name][0]


def _trips(body: Any, constants: Mapping[str, Any]) -> int:
    """N of a loop that goes on while ``counter < N``; 1 for one that depends on data."""
    known = {**constants, **{tensor.name: tensor for tensor in body.initializer}}
    made = {name: node for node in body.node for name in node.output}
    node = made.get(body.output[0].name)
    while node is not None and node.op_type in _PASSED_ON:
        node = made.get(node.input[0])
    if node is None or node.op_type != "Less" or node.input[1] not in known:
        return 1
    limit = onnx.numpy_helper.to_array(known[node.input[1]])
    return int(limit.ravel()[0]) if limit.size == 1 and np.isfinite(limit).all() else 1
