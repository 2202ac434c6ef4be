"""Memory and multiply-accumulates of a `.tflite` file, by its graphs. Runs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.artifacts.sidecar import sidecar_text
from trm_export.artifacts.tflite_micro import KINDS, name_of
from trm_export.device_cost import (
    DeviceCost,
    Use,
    device_cost,
    of_a_row,
    peak,
    scratch_of,
    states_of,
)
from trm_export.errors import RejectedInputError
from trm_export.files import MICRO, sidecar
from trm_runtime import strict_json
from trm_runtime.contract import StepContract

_LOOP, _LESS = "WHILE", "LESS"
_INT32 = 4  # bytes
_ARENA = "measured with {}, on a 64-bit host"


def tflite_cost(file: Path, size: int, model: Any, contract: StepContract) -> DeviceCost:
    """The needs of a file; the arena is that of `<file>.micro.json`, if it was measured.

    Weights are read in place, as tflite-micro does; LiteRT also packs a copy of them.
    """
    states, arena = states_of(contract), _measured(file)
    most, step = _followed(model)
    if arena is None:
        scratch = scratch_of(most, states)
    else:
        scratch = scratch_of(arena[0], states, _ARENA.format(arena[1]), "rest of the arena")
    return device_cost(size, (states, scratch), of_a_row(step, contract), contract)


def _followed(model: Any) -> tuple[int | None, int | None]:
    """Peak and multiply-accumulates of a call; None for a graph that cannot be followed."""
    graphs = _Graphs(model)
    try:
        return graphs.peak(0), graphs.macs(0)
    except Exception:  # a graph that another tool changed may have anything in it
        return None, None


def _measured(file: Path) -> tuple[int, str] | None:
    """Bytes of the arena, and what measured them."""
    try:
        facts: Any = strict_json.parse(sidecar_text(sidecar(file, MICRO)))
        arena, tool = facts["arena"], facts["measured_with"]
    except (RejectedInputError, ValueError, KeyError, TypeError):
        return None
    return (arena, tool) if type(arena) is int and isinstance(tool, str) else None


@dataclass
class _Graphs:
    """The graphs of a `ModelT`; each is followed once, and none may contain itself."""

    model: Any
    _macs: dict[int, int] = field(default_factory=dict)
    _peaks: dict[int, int] = field(default_factory=dict)

    def macs(self, number: int) -> int:
        """Multiply-accumulates of a graph; a loop whose trips depend on data counts once."""
        if number not in self._macs:
            self._macs[number] = -1
            graph = self.model.subgraphs[number]
            self._macs[number] = sum(self._operator_macs(graph, one) for one in graph.operators)
        return _settled(self._macs[number])

    def peak(self, number: int) -> int:
        """The most bytes of tensors that are live at once."""
        if number not in self._peaks:
            self._peaks[number] = -1
            graph = self.model.subgraphs[number]
            held = {str(int(n)) for n in (*graph.inputs, *graph.outputs)}
            sizes = {str(n): self._bytes(t) for n, t in enumerate(graph.tensors)}
            self._peaks[number] = peak([*self._uses(graph)], sizes, held)
        return _settled(self._peaks[number])

    def _uses(self, graph: Any) -> Iterator[Use]:
        for one in graph.operators:
            inner = max((self.peak(body) for body in self._bodies(one)), default=0)
            reads, writes = ([str(int(n)) for n in side] for side in (one.inputs, one.outputs))
            yield Use(reads, writes, inner)

    def _operator_macs(self, graph: Any, operator: Any) -> int:
        name = name_of(self.model, operator.opcodeIndex)
        if name == _LOOP:
            condition, body = self._bodies(operator)
            return self._trips(condition) * self.macs(body)
        if name not in ("FULLY_CONNECTED", "BATCH_MATMUL"):
            return 0
        left, right = (graph.tensors[int(n)] for n in operator.inputs[:2])
        turned = name == "BATCH_MATMUL" and operator.builtinOptions.adjX
        inner = right.shape[-1] if name == "FULLY_CONNECTED" else left.shape[-2 if turned else -1]
        return math.prod(map(int, graph.tensors[int(operator.outputs[0])].shape)) * int(inner)

    def _bodies(self, operator: Any) -> tuple[int, ...]:
        if name_of(self.model, operator.opcodeIndex) != _LOOP:
            return ()
        options = operator.builtinOptions
        return options.condSubgraphIndex, options.bodySubgraphIndex

    def _trips(self, condition: int) -> int:
        """N of a condition that is ``counter < N``; 1 for one that depends on data."""
        graph = self.model.subgraphs[condition]
        if [name_of(self.model, one.opcodeIndex) for one in graph.operators] != [_LESS]:
            return 1
        limit = graph.tensors[int(graph.operators[0].inputs[1])]
        data = self.model.buffers[limit.buffer].data
        if data is None or KINDS[limit.type] != "int32" or len(data) != _INT32:
            return 1
        return int.from_bytes(bytes(data), "little")

    def _bytes(self, tensor: Any) -> int:
        """Of a tensor in memory; a constant has none."""
        if self.model.buffers[tensor.buffer].data is not None or tensor.shape is None:
            return 0
        kind = KINDS[tensor.type]
        size = np.dtype(kind).itemsize if kind in _DTYPES else _INT32
        return math.prod(map(int, tensor.shape)) * size


_DTYPES = ("float32", "float16", "int32", "int64", "int16", "int8", "uint8", "bool")


def _settled(found: int) -> int:
    if found < 0:
        raise ValueError("a graph contains itself")
    return found
