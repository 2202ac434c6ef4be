"""Faults of one stored tensor of a finished file, which gets a new checksum.

Integers are changed as they are stored. In a SavedModel, whose weights are variables, the model's
own weight is changed and exported again, which gives the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from trm_export.exporters.tflite_flatbuffer import FLOAT32, INT8, dump, load
from trm_export.exporters.tflite_keep import FLOAT16, nearest_layer, real_values
from trm_runtime.drivers.onnx_file import sealed
from trm_runtime.drivers.tflite_file import append_contract, read_contract

Array = np.ndarray[Any, Any]
Edit = Callable[[Array, np.random.Generator], Array]


# --- what is done to a matrix -------------------------------------------------------------------


def _fitting(array: Array, values: Array) -> Array:
    """The values in the dtype of the array."""
    if array.dtype.kind != "i":
        return values.astype(array.dtype)
    most = int(np.abs(array.astype(int)).max()) or 1
    return np.clip(np.rint(values), -most, most).astype(array.dtype)


def _at(array: Array, draw: np.random.Generator, change: Callable[[float], float]) -> Array:
    values = array.astype(np.float64)
    place = tuple(draw.integers(size) for size in array.shape)
    values[place] = change(values[place])
    return _fitting(array, values)


def _line(array: Array, draw: np.random.Generator, axis: int, by: float) -> Array:
    values = np.moveaxis(array.astype(np.float64), axis, 0).copy()
    values[draw.integers(len(values))] *= by
    return _fitting(array, np.moveaxis(values, 0, axis))


def _swapped(array: Array, draw: np.random.Generator, axis: int) -> Array:
    order = np.arange(array.shape[axis])
    one, other = draw.choice(len(order), 2, replace=False)
    order[[one, other]] = order[[other, one]]
    return np.take(array, order, axis)


def _by_one_step(array: Array, draw: np.random.Generator) -> Array:
    place = tuple(draw.integers(size) for size in array.shape)
    new = array.copy()
    if array.dtype.kind == "i":
        new[place] += 1 if new[place] <= 0 else -1
    else:
        new[place] = np.nextafter(new[place], array.dtype.type(9))
    return new


def _turned(array: Array, draw: np.random.Generator) -> Array:
    """Transposed; a matrix that is not square keeps its shape."""
    return np.ascontiguousarray(array.T).reshape(array.shape)


EDITS: dict[str, Edit] = {
    "one value by one step": _by_one_step,
    "one value + 3 standard deviations": lambda x, d: _at(x, d, lambda v: v + 3 * float(x.std())),
    "one value negated": lambda x, d: _at(x, d, lambda v: -v or 1.0),
    "one value zeroed": lambda x, d: _at(x, d, lambda v: 0.0 if v else 1.0),
    "one row x 1.05": lambda x, d: _line(x, d, 0, 1.05),
    "one row negated": lambda x, d: _line(x, d, 0, -1),
    "one row zeroed": lambda x, d: _line(x, d, 0, 0),
    "two rows swapped": lambda x, d: _swapped(x, d, 0),
    "one column x 1.05": lambda x, d: _line(x, d, 1, 1.05),
    "one column negated": lambda x, d: _line(x, d, 1, -1),
    "two columns swapped": lambda x, d: _swapped(x, d, 1),
    "matrix transposed": _turned,
    "matrix negated": lambda x, d: -x,
    "matrix shifted by one row": lambda x, d: np.roll(x, 1, axis=0),
    "matrix x 1.01": lambda x, d: _fitting(x, x.astype(np.float64) * 1.01),
}
"""Of a stored matrix, in the dtype in which it is stored."""


def _one(array: Array, by: float) -> Array:
    new = array.copy()
    new.ravel()[new.size // 2] *= by
    return new


GRIDS: dict[str, Callable[[Array], Array]] = {
    "one scale x 1.05": lambda x: _one(x, 1.05),
    "one scale off by one digit": lambda x: _one(x, 1.00001),
    "two scales swapped": lambda x: x[[*range(1, x.size), 0]],
    "all scales x 1.01": lambda x: (x * 1.01).astype(x.dtype),
}
"""Of the scales of an integer matrix."""

ZERO, ACTIVATION = "one zero point + 1", "scale of an activation x 1.1"
UNUSED, RENAMED = "unused constant added", "everything renamed"
BENIGN = (UNUSED, RENAMED)


# --- files --------------------------------------------------------------------------------------


def edit_onnx(path: Path, weight: str, kind: str, draw: np.random.Generator) -> bool:
    """Changes one weight of an `.onnx` file; False where the file has nothing of that kind."""
    model = onnx.load_model_from_string(path.read_bytes())
    del model.metadata_props[-1]  # the checksum, which `sealed` adds again
    done = _onnx(model, weight, kind, draw)
    path.write_bytes(sealed(model.SerializeToString()))
    return done


def _onnx(model: Any, weight: str, kind: str, draw: np.random.Generator) -> bool:
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    if kind == UNUSED:
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3, "f4"), "unused"))
        return True
    if kind == RENAMED:
        return _renamed(model.graph)
    if kind in EDITS:
        names = [name for name in (weight, f"{weight}/half", f"{weight}/int8") if name in stored]
        _replace(stored[names[-1]], lambda x: EDITS[kind](x, draw))
        return True
    name, change = _grid(weight, kind)
    if name not in stored:
        return False
    _replace(stored[name], change)
    return True


def _grid(weight: str, kind: str) -> tuple[str, Callable[[Array], Array]]:
    if kind == ZERO:
        return f"{weight}/zero", lambda x: _plus_one(x)
    if kind == ACTIVATION:
        return f"{weight}/in_scale", lambda x: (x * 1.1).astype(x.dtype)
    return f"{weight}/scale", GRIDS[kind]


def _plus_one(array: Array) -> Array:
    new = array.copy()
    new.ravel()[0] += 1
    return new


def _replace(tensor: Any, change: Callable[[Array], Array]) -> None:
    array = np.array(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(array)), tensor.name))


def _renamed(graph: Any) -> bool:
    """New names for everything inside, and the initializers in another order."""
    from trm_export.exporters.onnx_graph import rename

    fixed = {value.name for value in (*graph.input, *graph.output)}
    rename(graph, lambda name: name if name in fixed else f"other_{name}")
    tensors = list(graph.initializer)[::-1]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return True


def edit_tflite(
    path: Path, layers: dict[str, Array], weight: str, kind: str, draw: np.random.Generator
) -> bool:
    """Changes one weight of a `.tflite` file; False where the file has nothing of that kind."""
    model, contract = load(path.read_bytes()), read_contract(path)
    done = _tflite(model, layers, weight, kind, draw)
    path.write_bytes(dump(model))
    append_contract(path, contract)
    return done


def _tflite(
    model: Any, layers: dict[str, Array], weight: str, kind: str, draw: np.random.Generator
) -> bool:
    if kind == RENAMED:
        for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
            tensor.name = b"other_" + tensor.name
        return True
    if kind == UNUSED:
        buffer = type(model.buffers[0])()
        buffer.data = np.ones(4, np.uint8)
        model.buffers.append(buffer)
        return True
    if kind == ACTIVATION:
        return _activation(model)
    tensors = list(_tensors_of(model, layers, weight))
    if kind in EDITS:
        tensor = tensors[0]
        dtype = {FLOAT32: "<f4", FLOAT16: "<f2", INT8: "i1"}[tensor.type]
        buffer = model.buffers[tensor.buffer]
        array = np.frombuffer(bytes(buffer.data), dtype).reshape(tensor.shape)
        new = np.ascontiguousarray(EDITS[kind](array, draw))
        buffer.data = np.frombuffer(new.tobytes(), np.uint8)
        return True
    if tensors[0].type != INT8:
        return False
    for tensor in tensors:
        grid = tensor.quantization
        if kind == ZERO:
            grid.zeroPoint = _plus_one(np.asarray(grid.zeroPoint))
        else:
            grid.scale = GRIDS[kind](np.asarray(grid.scale))
    return True


def _tensors_of(model: Any, layers: dict[str, Array], weight: str) -> Iterator[Any]:
    """The tensors that store a weight, or one half of it; static int8 scales their values."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    found = [t for t in tensors if (x := real_values(model, t)) is not None
             and nearest_layer(x, layers) == weight]  # fmt: skip
    if not found:
        shape = layers[weight].T.shape
        found = [t for t in tensors if t.type == INT8 and tuple(t.shape) == shape
                 and real_values(model, t) is not None]  # fmt: skip
    yield from (tensor for tensor in tensors if tensor.buffer == found[0].buffer)


def _activation(model: Any) -> bool:
    """The scale of the first activation that is int8."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.type == INT8 and real_values(model, tensor) is None:
                tensor.quantization.scale = np.asarray(tensor.quantization.scale) * np.float32(1.1)
                return True
    return False
