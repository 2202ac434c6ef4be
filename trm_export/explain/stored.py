"""Compare the tensors stored in a file with those of a new export with the same choices.

An exporter is deterministic, so tensors correspond by name, in TFLite by number, and must be equal
to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trm_export.explain.op_diff import Labels, StoredChange, layer_of
from trm_export.explain.saved_model_graph import StepGraph
from trm_export.exporters.onnx_graph import graphs
from trm_export.exporters.tflite_flatbuffer import FLOAT32, INT8, INT32, load
from trm_export.exporters.tflite_keep import FLOAT16, nearest_layer, real_values

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

_DTYPES = {FLOAT32: "<f4", FLOAT16: "<f2", INT8: "i1", INT32: "<i4"}


def changed_onnx(candidate: Path, fresh: Path, layers: Arrays) -> tuple[StoredChange, ...]:
    """Initializers, those of loop bodies included."""
    ours, theirs = (_initializers(path) for path in (fresh, candidate))
    return tuple(
        StoredChange(layer_of(name, layers), name, how) for name, how in _changes(ours, theirs)
    )


def changed_tflite(candidate: Path, fresh: Path, labels: Labels) -> tuple[StoredChange, ...]:
    """Constants of every subgraph, and the scales of integer tensors."""
    model = load(fresh.read_bytes())
    ours, theirs = (_constants(load(path.read_bytes())) for path in (fresh, candidate))
    found = []
    for key, how in _changes(ours, theirs):
        part, number, what = key.split(" ", 2)
        tensor = model.subgraphs[int(part)].tensors[int(number)]
        name = f"{bytes(tensor.name).decode('utf-8', 'replace')}, its {what}"
        found.append(StoredChange(labels.get((int(part), int(number))), name, how))
    return tuple(found)


def changed_saved_model(
    candidate: StepGraph, fresh: StepGraph, layers: Arrays
) -> tuple[StoredChange, ...]:
    """Weights, and constants of the graph."""
    ours = fresh.constants
    return tuple(
        StoredChange(nearest_layer(ours[name], layers), name, how)
        for name, how in _changes(ours, candidate.constants)
    )


def labels_of(healthy: Path, layers: Arrays) -> dict[tuple[int, int], str]:
    """The layers of the matrices that a `.tflite` file stores, by subgraph and tensor."""
    found, model = {}, load(healthy.read_bytes())
    for part, graph in enumerate(model.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            array = real_values(model, tensor)
            name = None if array is None else nearest_layer(array, layers)
            if name is not None:
                found[part, number] = name
    return found


def _initializers(path: Path) -> dict[str, Array]:
    proto = onnx.load_model_from_string(path.read_bytes())
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for graph in graphs(proto.graph)
        for tensor in graph.initializer
    }


def _constants(model: Any) -> dict[str, Array]:
    """``"<subgraph> <tensor> values"`` and ``"... scales"``, every buffer once."""
    found: dict[str, Array] = {}
    seen = set()
    for part, graph in enumerate(model.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            data, grid = model.buffers[tensor.buffer].data, tensor.quantization
            if grid is not None and grid.scale is not None:
                found[f"{part} {number} scales"] = np.asarray(grid.scale)
            if data is None or len(data) == 0 or tensor.buffer in seen:
                continue
            seen.add(tensor.buffer)
            found[f"{part} {number} values"] = _raw(bytes(data), tensor)
    return found


def _raw(content: bytes, tensor: Any) -> Array:
    """The stored numbers; bytes for a dtype that no weight has."""
    dtype = _DTYPES.get(tensor.type)
    if dtype is None or tensor.shape is None:
        return np.frombuffer(content, np.uint8)
    return np.frombuffer(content, dtype).reshape(tensor.shape)


def _changes(ours: Arrays, theirs: Arrays) -> Iterator[tuple[str, str]]:
    """Name and difference of every tensor that differs."""
    for name, expected in ours.items():
        got = theirs.get(name)
        if got is None:
            yield name, "is not in the file"
        elif expected.dtype != got.dtype or expected.shape != got.shape:
            yield name, f"is {got.dtype} {got.shape}, expected {expected.dtype} {expected.shape}"
        elif not np.array_equal(expected, got, equal_nan=expected.dtype.kind == "f"):
            yield name, _how(name, expected, got, ours)


def _is_shifted(expected: Array, got: Array, shift: int, axis: int) -> bool:
    """Whether the values are those expected, shifted by that many places along the axis."""
    moved = np.moveaxis(expected, axis, 0), np.moveaxis(got, axis, 0)
    if shift < 0:
        moved, shift = (moved[1], moved[0]), -shift
    same = np.array_equal(moved[0][:-shift], moved[1][shift:])
    return same and not np.array_equal(moved[0][shift:], moved[1][shift:])


def _how(name: str, expected: Array, got: Array, ours: Arrays) -> str:
    twins = (n for n, x in ours.items() if n != name and got.size > 1 and np.array_equal(x, got))
    twin = next(twins, None)
    if twin is not None:
        return f"has the values of {twin}"
    if expected.ndim == 2 and np.array_equal(expected.T, got):
        return "is transposed"
    for axis, size in enumerate(expected.shape):
        for shift in (1, -1, size // 2):
            if size > 2 and _is_shifted(expected, got, shift, axis):
                return f"is shifted by {shift} along axis {axis}"
    x, y = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    factor = float(x @ y) / (float(x @ x) or 1.0)
    if np.allclose(x * factor, y, rtol=1e-5, atol=1e-7 * float(np.abs(y).max())):
        return f"is multiplied by {factor:.6g}"
    different = x != y
    worst = int(np.abs(y - x).argmax())
    return (
        f"{int(different.sum())} of {x.size} values differ; largest change: from {x[worst]:.6g} to "
        f"{y[worst]:.6g}"
    )
