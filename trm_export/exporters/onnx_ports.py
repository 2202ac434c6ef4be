"""Int8 I/O of an ONNX graph: int8 inputs and outputs, converted to and from float inside it.

A DequantizeLinear after every int8 input and a QuantizeLinear before every int8 output, on the
grids of the contract.
"""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from trm_export.exporters.onnx_graph import rename, replace
from trm_export.step.signature import incoming, outgoing
from trm_runtime.contract import StepContract
from trm_runtime.tensors import AnySpec

_REAL = "_real"


def add_int8_io(graph: GraphProto, contract: StepContract) -> None:
    """Gives the graph the int8 inputs and outputs of the contract, if it has any."""
    ports = {s.name: s for s in (*incoming(contract), *outgoing(contract)) if s.dtype == "int8"}
    rename(graph, lambda name: name + _REAL if name in ports else name)
    before = [_ported(graph, ports[v.name], v, True) for v in graph.input if _is(v, ports)]
    after = [_ported(graph, ports[v.name], v, False) for v in graph.output if _is(v, ports)]
    replace(graph, [*before, *graph.node, *after])


def _is(value: ValueInfoProto, ports: dict[str, AnySpec]) -> bool:
    """Whether an input or output is one of the ports; it then gets the port's name back."""
    name = value.name.removesuffix(_REAL)
    if name not in ports:
        return False
    value.name = name
    return True


def _ported(graph: GraphProto, spec: AnySpec, value: ValueInfoProto, enters: bool) -> NodeProto:
    value.type.tensor_type.elem_type = TensorProto.INT8
    grid = [f"{spec.name}_scale", f"{spec.name}_zero_point"]
    values = (np.array(spec.scale, np.float32), np.array(spec.zero_point, np.int8))
    for name, number in zip(grid, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(number, name))
    real = spec.name + _REAL
    if enters:
        return helper.make_node("DequantizeLinear", [spec.name, *grid], [real], f"{spec.name}_in")
    return helper.make_node("QuantizeLinear", [real, *grid], [spec.name], f"{spec.name}_out")
