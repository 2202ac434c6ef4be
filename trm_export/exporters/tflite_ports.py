"""Int8 I/O of a `.tflite` file: int8 inputs and outputs, converted to and from float inside it.

A DEQUANTIZE after every int8 input and a QUANTIZE before every int8 output, on the grids of the
contract. Only inputs and outputs change; what the graph computes does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trm_export.exporters.tflite_flatbuffer import INT8, dump, load
from trm_export.exporters.tflite_static import DEQUANTIZE, QUANTIZE, new_operator, parameters
from trm_export.step.signature import incoming, outgoing
from trm_runtime.contract import StepContract
from trm_runtime.integer import has_int8_io


def with_int8_io(data: bytes, contract: StepContract) -> bytes:
    """The flatbuffer with the int8 inputs and outputs of the contract; unchanged without any."""
    if not has_int8_io(contract):
        return data
    model = load(data)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    grids = {spec.name: spec for spec in (*incoming(contract), *outgoing(contract))}
    ports = {True: (signature.inputs, "inputs"), False: (signature.outputs, "outputs")}
    for enters, (entries, side) in ports.items():
        numbers = list(getattr(graph, side))
        for entry in entries:
            spec = grids[entry.name.decode()]
            if spec.dtype != "int8":
                continue
            inside = entry.tensorIndex
            entry.tensorIndex = outside = _port(graph, inside, spec)
            numbers[numbers.index(inside)] = outside
            if enters:
                graph.operators.insert(0, new_operator(model, DEQUANTIZE, outside, inside))
            else:
                graph.operators.append(new_operator(model, QUANTIZE, inside, outside))
        setattr(graph, side, np.array(numbers, np.int32))
    return dump(model)


def _port(graph: Any, inside: int, spec: Any) -> int:
    """A new int8 tensor with the shape and the name of the float one, which is renamed."""
    old, new = graph.tensors[inside], schema.TensorT()
    new.name, new.type, new.hasRank = old.name, INT8, True
    new.shape, new.shapeSignature = old.shape, old.shapeSignature
    new.quantization = parameters(np.array([spec.scale]), np.array([spec.zero_point]))
    old.name = old.name + b"_float"
    graph.tensors.append(new)
    return len(graph.tensors) - 1
