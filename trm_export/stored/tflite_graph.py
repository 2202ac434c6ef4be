"""The digests of the graph in a `.tflite` file; see `trm_export.stored.graph`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trm_export.exporters.tflite_flatbuffer import FLOAT32, INT8, INT32, load
from trm_export.exporters.tflite_keep import FLOAT16
from trm_export.stored.graph import Array, Key, Keys, Known, StoredGraph, argument, made

_DTYPES = {FLOAT32: "<f4", FLOAT16: "<f2", INT8: "i1", INT32: "<i4"}
_OPERATORS = {number: name for name, number in vars(schema.BuiltinOperator).items()}
_VALUES, _SCALES = "values", "scales"
_SUBGRAPH = "SubgraphIndex"  # the options of loops and branches end in it


def constants(path: Path) -> dict[str, Array]:
    """``"<subgraph> <tensor> values"`` and ``"... scales"``, every buffer once."""
    model = load(path.read_bytes())
    found: dict[str, Array] = {}
    seen = set()
    for part, graph in enumerate(model.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            grid = tensor.quantization
            if grid is not None and grid.scale is not None:
                found[_name(part, number, _SCALES)] = np.asarray(grid.scale)
            if _is_stored(model, tensor) and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                found[_name(part, number, _VALUES)] = _raw(model, tensor)
    return found


def place_of(name: str) -> tuple[int, int]:
    """Subgraph and number of a tensor, by a name of `constants`."""
    part, number, _ = name.split(" ", 2)
    return int(part), int(number)


def names(path: Path) -> dict[str, str]:
    """What the file calls each stored tensor, and whether it is its values or its scales."""
    model, found = load(path.read_bytes()), {}
    for part, graph in enumerate(model.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            for what in (_VALUES, _SCALES):
                found[_name(part, number, what)] = f"{_text(tensor.name)}, its {what}"
    return found


def stored_graph(path: Path, known: Known) -> StoredGraph:
    """The graph of the only signature of a file; `known` see `Keys`."""
    model, keys = load(path.read_bytes()), Keys(known)
    signature = model.signatureDefs[0]
    reader = _Reader(model, keys)
    part = int(signature.subgraphIndex)
    graph = model.subgraphs[part]
    entering = {
        int(one.tensorIndex): made("input", _text(one.name), _facts(graph.tensors[one.tensorIndex]))
        for one in signature.inputs
    }
    scope = reader.values(part, entering, 0)
    return keys.graph({_text(one.name): scope[int(one.tensorIndex)] for one in signature.outputs})


class _Reader:
    """The digests of every tensor of the subgraphs of one file."""

    def __init__(self, model: Any, keys: Keys) -> None:
        self._model, self._keys = model, keys

    def values(self, part: int, entering: Mapping[int, Key], depth: int) -> dict[int, Key]:
        """The digest of every tensor of a subgraph that gets these inputs; -1 is no tensor.

        `depth` is how many bodies are around it.
        """
        graph, scope = self._model.subgraphs[part], {-1: "", **entering}
        for number, tensor in enumerate(graph.tensors):
            if number not in scope and _is_stored(self._model, tensor):
                name, more = _name(part, number, _VALUES), _facts(tensor)
                scope[number] = self._keys.constant(name, _raw(self._model, tensor), more)
        for operator in graph.operators or ():
            reads = [scope[int(number)] for number in operator.inputs]
            outputs = [int(number) for number in operator.outputs]
            code = self._model.operatorCodes[operator.opcodeIndex]
            facts = [_options(operator), *(_facts(graph.tensors[n]) for n in outputs)]
            reads += self._called(operator, depth)
            name = _text(graph.tensors[outputs[0]].name) if outputs else ""
            what = f"{code.builtinCode} {code.version} {_text(code.customCode)}"
            key = self._keys.operator(_OPERATORS[code.builtinCode], name, reads, what, *facts)
            scope.update((number, f"{key}:{k}") for k, number in enumerate(outputs))
        return scope

    def _called(self, operator: Any, depth: int) -> list[Key]:
        """The digests of the outputs of the subgraphs that an operator runs."""
        found: list[Key] = []
        for part in _parts(operator):
            graph = self._model.subgraphs[part]
            bound = {int(n): argument(depth, k) for k, n in enumerate(graph.inputs)}
            scope = self.values(part, bound, depth + 1)
            found += [scope[int(number)] for number in graph.outputs]
        return found


def _parts(operator: Any) -> list[int]:
    """The numbers of the subgraphs that an operator runs."""
    options = vars(operator.builtinOptions) if operator.builtinOptions else {}
    return [int(options[name]) for name in sorted(options) if name.endswith(_SUBGRAPH)]


def _options(operator: Any) -> str:
    """The options of an operator, without numbers of subgraphs."""
    both = (operator.builtinOptions, operator.builtinOptions2)
    facts = [
        f"{name}={_plain(value)}"
        for options in both
        for name, value in sorted(vars(options).items() if options else ())
        if not name.endswith(_SUBGRAPH)
    ]
    return " ".join([*facts, _plain(operator.customOptions)])


def _facts(tensor: Any) -> str:
    """Type, shape and grid of a tensor."""
    shape = _plain(tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape)
    grid = tensor.quantization
    if grid is None or grid.scale is None:
        return f"{tensor.type} {shape}"
    scale, zero = np.asarray(grid.scale), np.asarray(grid.zeroPoint)
    return f"{tensor.type} {shape} {scale.tobytes().hex()} {_plain(zero)} {grid.quantizedDimension}"


def _plain(value: Any) -> str:
    return str(value.tolist()) if isinstance(value, np.ndarray) else str(value)


def float_vector(model: Any, tensor: Any) -> Array | None:
    """The values of a stored float tensor; None for any other."""
    if tensor.type not in (FLOAT32, FLOAT16) or not _is_stored(model, tensor):
        return None
    return _raw(model, tensor)


def _is_stored(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _raw(model: Any, tensor: Any) -> Array:
    """The stored numbers; bytes for a dtype that no weight has."""
    content, dtype = bytes(model.buffers[tensor.buffer].data), _DTYPES.get(tensor.type)
    if dtype is None or tensor.shape is None:
        return np.frombuffer(content, np.uint8)
    return np.frombuffer(content, dtype).reshape(tensor.shape)


def _name(part: int, number: int, what: str) -> str:
    return f"{part} {number} {what}"


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")
