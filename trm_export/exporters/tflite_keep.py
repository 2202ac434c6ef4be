"""Put layers of a `.tflite` file back into float32 that the converter has quantized.

The converter has one precision for all layers. Its file is edited: a stored matrix in int8 or
float16 is matched with the layer it is nearest to, and gets the float32 values of that layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trm_export.exporters.tflite_flatbuffer import FLOAT32, INT8, Array, dump, load

FLOAT16 = schema.TensorType.FLOAT16
_DEQUANTIZE = schema.BuiltinOperator.DEQUANTIZE
_FAR = 0.3  # relative error above which a stored matrix matches no layer of the model


def restored(data: bytes, layers: Mapping[str, Array], keep: Collection[str]) -> bytes:
    """The flatbuffer with the layers to keep, and no others, in float32.

    Args:
        data: as the converter wrote it for fp16, or for int8 with dynamic ranges.
        layers: every matrix of the model, ``(in, out)`` float32, by name.
        keep: names of those to put back.
    """
    model = load(data)
    floats = _floats(model, layers, keep)
    for graph in model.subgraphs:
        for number, tensor in enumerate(graph.tensors):
            if tensor.buffer in floats:
                tensor.type, tensor.quantization = FLOAT32, None
                _read(model, graph, number)
    for buffer, exact in floats.items():
        content = np.ascontiguousarray(exact, "<f4")
        model.buffers[buffer].data = np.frombuffer(content.tobytes(), np.uint8)
    return dump(model)


def _floats(model: Any, layers: Mapping[str, Array], keep: Collection[str]) -> dict[int, Array]:
    """Number of every buffer that holds a layer to keep -> its values in float32."""
    floats: dict[int, Array | None] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer not in floats:
                small = None if tensor.type == FLOAT32 else real_values(model, tensor)
                name, exact = ("", None) if small is None else nearest_form(small, layers)
                floats[tensor.buffer] = exact if name in keep else None
    return {buffer: exact for buffer, exact in floats.items() if exact is not None}


def float_layers(data: bytes, layers: Mapping[str, Array]) -> tuple[str, ...]:
    """The layers that a flatbuffer stores in float32."""
    model = load(data)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    floats = [real_values(model, tensor) for tensor in tensors if tensor.type == FLOAT32]
    names = {nearest_layer(array, layers) for array in floats if array is not None}
    return tuple(name for name in layers if name in names)


def real_values(model: Any, tensor: Any) -> Array | None:
    """The values of a stored matrix in float32; None for other tensors.

    A matrix has two dimensions or more, in float32, float16, or int8 with scales.
    """
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) == 0 or tensor.shape is None or len(tensor.shape) < 2:
        return None
    content, grid = bytes(data), tensor.quantization
    if tensor.type in (FLOAT16, FLOAT32):
        floats = np.frombuffer(content, "<f2" if tensor.type == FLOAT16 else "<f4")
        return floats.reshape(tensor.shape).astype(np.float32)
    if tensor.type != INT8 or grid is None or grid.scale is None:
        return None
    integers = np.frombuffer(content, np.int8).reshape(tensor.shape).astype(np.float32)
    axes = [1] * integers.ndim
    if len(grid.scale) > 1:
        axes[grid.quantizedDimension] = -1
    values: Array = (integers - np.reshape(grid.zeroPoint, axes)) * np.reshape(grid.scale, axes)
    return values


def nearest_layer(array: Array, layers: Mapping[str, Array]) -> str | None:
    """The layer that a stored matrix belongs to; None if it is no layer of the model."""
    return nearest_form(array, layers)[0] or None


def nearest_form(small: Array, layers: Mapping[str, Array]) -> tuple[str, Array | None]:
    """The layer that a stored matrix belongs to, and its exact values in the same shape."""
    least = _FAR
    nearest: tuple[str, Array | None] = ("", None)
    for name, matrix in layers.items():
        for exact in _forms(matrix, small.shape):
            error = float(np.linalg.norm(small - exact) / (np.linalg.norm(exact) or 1.0))
            if error < least:
                least, nearest = error, (name, exact)
    return nearest


def _forms(matrix: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """How a layer may be stored in this shape: unchanged, transposed, or one half transposed."""
    if matrix.size == np.prod(shape):
        yield matrix.reshape(shape)
        yield matrix.reshape(shape[::-1]).T
    elif matrix.ndim == 2 and matrix.shape[1] % 2 == 0:
        halves = (half.T for half in np.split(matrix, 2, axis=1))
        yield from (half for half in halves if half.shape == shape)


def _read(model: Any, graph: Any, number: int) -> None:
    """Lets the operators of a graph read a constant in float32 that was quantized."""
    operators = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if number not in operator.inputs:
            operators.append(operator)
        elif code == _DEQUANTIZE:
            for other in graph.operators:
                other.inputs = np.where(other.inputs == operator.outputs[0], number, other.inputs)
        else:
            operator.builtinOptions.asymmetricQuantizeInputs = False
            operators.append(operator)
    graph.operators = operators
