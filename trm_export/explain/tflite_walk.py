"""Compare a TFLite graph operator by operator, each fed the reference's values of its inputs.

The converter names tensors by their place in the model, in every precision, so two files of one
model are matched by name: values that both compute are fed to the candidate's operators from the
reference, and their results are compared. A loop is one operator at first; where its results are
wrong, its body is compared in the same way, pass by pass.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trm_export.explain.op_diff import (
    Array,
    Arrays,
    Labels,
    OpDiff,
    StoredChange,
    Walk,
    op_error,
)
from trm_export.explain.stored import changed_tflite, labels_of
from trm_export.explain.walker import View, Walker
from trm_export.exporters.tflite_flatbuffer import dump, gated, load, matrices
from trm_export.exporters.tflite_keep import float_layers
from trm_export.stored.contents import tflite_contents
from trm_runtime.cores import available_cores
from trm_runtime.drivers.litert import allocate
from trm_runtime.parity import Gates

_OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_MOST_TURNS = 1000


def walk_tflite(
    candidate: Path,
    reference: Path,
    calls: Sequence[Arrays],
    labels: Labels,
    gates: Gates,
    *,
    excluded: Collection[str] = (),
) -> Walk:
    """The operators of a file against those of another of the same contract.

    Args:
        candidate: the file that is analysed.
        reference: a correct file.
        calls: the inputs of the graph, a dictionary a call.
        labels: layers of the stored matrices.
        gates: the tolerance.
        excluded: tensors that are not compared, because the file scales them on purpose.
    """
    pair = _Pair(
        load(reference.read_bytes()), load(candidate.read_bytes()), labels, gates, excluded
    )
    walk = Walk()
    for call in calls:
        signature = pair.ours.signatureDefs[0]
        by_tensor = {e.tensorIndex: call[e.name.decode()] for e in signature.inputs}
        entering = [by_tensor[int(number)] for number in pair.ours.subgraphs[0].inputs]
        walk = walk.over(pair.walk(0, entering, None))
        if walk.first is not None:
            return walk
    return walk


def scaled(path: Path) -> frozenset[str]:
    """Tensors that static int8 scales channel by channel, and scales back; see `tflite_recipe`.

    Names of tensors of the float graph: the product with the up of every SwiGLU, and the product of
    that and the gate.
    """
    model = load(path.read_bytes())
    names = set()
    for graph in model.subgraphs:
        pairs = gated(model, graph)
        for matrix in matrices(model, graph):
            if matrix.key in pairs:
                names.add(_name(graph, matrix.entering))
            if matrix.key in pairs.values():
                names.add(_name(graph, matrix.leaving))
    return frozenset(names)


class _Pair:
    """Two files whose subgraphs correspond."""

    def __init__(
        self, ours: Any, theirs: Any, labels: Labels, gates: Gates, excluded: Collection[str]
    ) -> None:
        self.ours, self.theirs = ours, theirs
        self._labels, self._gates, self._apart = labels, gates, excluded
        self._parts: dict[tuple[str, int], _Part] = {}

    def walk(self, part: int, entering: Sequence[Array], turn: int | None) -> Iterator[OpDiff]:
        """Every operator of a subgraph in turn, and those of a loop's body before the loop."""
        graph = self.theirs.subgraphs[part]
        right = self._right(part, entering)
        shared = {
            name: number
            for name, number in _computed(graph).items()
            if name in right and name not in self._apart
        }
        found = self._found(part, entering, {n: right[x] for x, n in shared.items()})
        for operator in graph.operators:
            op = _op(self.theirs, operator)
            outputs = [n for n in map(int, operator.outputs) if n in found]
            names = {n: _name(graph, n) for n in outputs}
            errors = [
                op_error(
                    op, names[n], self._layer(part, n, found), right[names[n]], found[n],
                    self._gates, turn,
                )
                for n in outputs
            ]  # fmt: skip
            if op == "WHILE" and any(error.problem for error in errors):
                yield from self._loop(part, names[outputs[0]], right)
            yield from errors

    def _right(self, part: int, entering: Sequence[Array]) -> dict[str, Array]:
        """Every value that the reference computes in a subgraph, and its loops' inputs, by name."""
        graph = self.ours.subgraphs[part]
        if ("ours", part) not in self._parts:
            observed = copy.copy(graph)
            observed.outputs = np.array(sorted(_computed(graph).values()), np.int32)
            self._parts["ours", part] = _Part(self.ours, observed)
        found = self._parts["ours", part].run(entering, _constants(self.ours, graph))
        return {_name(graph, number): array for number, array in found.items()}

    def _found(
        self, part: int, entering: Sequence[Array], fed: Mapping[int, Array]
    ) -> dict[int, Array]:
        """The results of the candidate's operators on these values, by number of the tensor."""
        if ("theirs", part) not in self._parts:
            graph = _spliced(self.theirs.subgraphs[part], fed)
            self._parts["theirs", part] = _Part(self.theirs, graph)
        return self._parts["theirs", part].run([*entering, *fed.values()])

    def _layer(self, part: int, number: int, shared: Collection[int]) -> str | None:
        """The layer whose matrix a tensor is computed with, past values of the candidate alone."""
        operators = self.theirs.subgraphs[part].operators
        maker = next((o for o in operators if number in o.outputs), None)
        for source in [] if maker is None else map(int, maker.inputs):
            found = self._labels.get((part, source))
            if found is None and source not in shared:
                found = self._layer(part, source, shared)
            if found is not None:
                return found
        return None

    def _loop(self, part: int, output: str, right: Mapping[str, Array]) -> Iterator[OpDiff]:
        """The body of a loop of the reference, turn by turn."""
        graph = self.ours.subgraphs[part]
        number = _computed(graph)[output]
        loop = next(o for o in graph.operators if number in o.outputs)
        condition, body = (
            int(loop.builtinOptions.condSubgraphIndex), int(loop.builtinOptions.bodySubgraphIndex),
        )  # fmt: skip
        state = [right[_name(graph, int(number))] for number in loop.inputs]
        for turn in range(1, _MOST_TURNS):
            if not self._leaving(condition, state)[0].any():
                return
            yield from self.walk(body, state, turn)
            state = self._leaving(body, state)

    def _leaving(self, part: int, entering: Sequence[Array]) -> list[Array]:
        graph, found = self.ours.subgraphs[part], self._right(part, entering)
        return [found[_name(graph, int(number))] for number in graph.outputs]


class _Part:
    """One subgraph in its own interpreter."""

    def __init__(self, model: Any, graph: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter

        alone = copy.copy(model)
        alone.subgraphs, alone.signatureDefs = [graph, *model.subgraphs[1:]], None
        self._graph = graph
        self._interpreter = Interpreter(model_content=dump(alone), num_threads=available_cores())

    def run(self, entering: Sequence[Array], also: Iterable[int] = ()) -> dict[int, Array]:
        """The outputs, the inputs and other tensors, which are constants, by number."""
        fed = dict(zip(map(int, self._graph.inputs), entering, strict=True))
        for number, array in fed.items():
            self._interpreter.resize_tensor_input(number, array.shape)
        allocate(self._interpreter)
        for number, array in fed.items():
            self._interpreter.set_tensor(number, array)
        self._interpreter.invoke()
        wanted = {*map(int, self._graph.outputs), *also} - fed.keys()
        return {**fed, **{number: self._interpreter.get_tensor(number) for number in wanted}}


def _spliced(graph: Any, fed: Mapping[int, Array]) -> Any:
    """A subgraph whose operators read these tensors from new inputs, with all as outputs."""
    cut = copy.copy(graph)
    cut.tensors, cut.operators = list(graph.tensors), []
    twins: dict[int, int] = {}
    for number, array in fed.items():
        twin = copy.copy(graph.tensors[number])
        twin.name, twin.buffer, twin.hasRank = twin.name + b"_fed", 0, True
        twin.shape, twin.shapeSignature = np.array(array.shape, np.int32), None
        twins[number] = len(cut.tensors)
        cut.tensors.append(twin)
    for operator in graph.operators:
        reads = copy.copy(operator)
        reads.inputs = np.array([twins.get(int(n), int(n)) for n in operator.inputs], np.int32)
        cut.operators.append(reads)
    cut.inputs = np.array([*graph.inputs, *twins.values()], np.int32)
    cut.outputs = np.array(list(fed), np.int32)
    return cut


def _computed(graph: Any) -> dict[str, int]:
    """Name and number of every tensor that an operator computes, in order."""
    return {_name(graph, int(n)): int(n) for o in graph.operators for n in o.outputs}


def _constants(model: Any, graph: Any) -> set[int]:
    """Numbers of constants that are initial values of a loop, or outputs."""
    loops = (o for o in graph.operators if _op(model, o) == "WHILE")
    read = {int(number) for loop in loops for number in loop.inputs}
    return {*read, *map(int, graph.outputs)} - set(_computed(graph).values())


def _op(model: Any, operator: Any) -> str:
    return _OPERATORS[model.operatorCodes[operator.opcodeIndex].builtinCode]


def _name(graph: Any, number: int) -> str:
    return bytes(graph.tensors[number].name).decode("utf-8", "replace")


def _kept(path: Path, layers: Arrays) -> tuple[str, ...]:
    return float_layers(path.read_bytes(), layers)


def _changed(view: View, candidate: Path, fresh: Path) -> tuple[StoredChange, ...]:
    return changed_tflite(candidate, fresh, view.labels)


def _walk(
    view: View, candidate: Path, right: Path, calls: Sequence[Arrays], gates: Gates, exact: bool
) -> Walk:
    excluded = scaled(right) if exact and view.precision == "int8-static" else ()
    return walk_tflite(candidate, right, calls, view.labels, gates, excluded=excluded)


WALKER = Walker(_kept, _changed, _walk, tflite_contents, labels_of)
