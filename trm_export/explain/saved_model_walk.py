"""Compare a SavedModel operator by operator, each fed the reference's values of its inputs.

Two exports of one model use the same names, so they are matched by name: values that both compute
are fed to the candidate's operators from the reference, and their results are compared. A loop is
one operator at first; where its results are wrong, its body is compared in the same way, pass by
pass, with the weights that either file passes to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trm_export.explain.op_diff import Array, Arrays, OpDiff, StoredChange, Walk, op_error
from trm_export.explain.stored import changed_saved_model
from trm_export.explain.walker import View, Walker
from trm_export.exporters.tflite_keep import nearest_layer
from trm_export.stored.contents import saved_model_contents
from trm_export.stored.saved_model_file import STEP, Part, StepGraph, constants, graph_of
from trm_runtime.drivers.saved_model import load_engine
from trm_runtime.parity import Gates

_LOOPS = {"While", "StatelessWhile"}
_SAME = {
    "Cast",
    "Identity",
    "Reshape",
    "Transpose",
}  # operators whose output is still the same weight
_COMPUTE_NOTHING = {"Const", "NoOp", "Placeholder"}

Stored = tuple[str, str | None]
"""The name of a stored tensor, and the layer it belongs to."""


def walk_saved_model(
    candidate: StepGraph,
    reference: StepGraph,
    calls: Sequence[Arrays],
    layers: Arrays,
    gates: Gates,
) -> Walk:
    """The operators of a folder against those of another of the same contract.

    Args:
        candidate: the graph that is analysed.
        reference: a correct graph.
        calls: the inputs of the step, a dictionary a call.
        layers: the model's matrices by name.
        gates: the tolerance.
    """
    pair = _Pair(reference, candidate, layers, gates)
    walk = Walk()
    for call in calls:
        walk = walk.over(pair.step([call[name] for name in reference.names]))
        if walk.first is not None:
            return walk
    return walk


@dataclasses.dataclass(frozen=True)
class _Entering:
    """The inputs of a part on one side, and the stored tensors that its nodes are."""

    arrays: Sequence[Array]
    stored: Mapping[str, Stored]


class _Pair:
    """Two graphs whose parts correspond."""

    def __init__(self, ours: StepGraph, theirs: StepGraph, layers: Arrays, gates: Gates) -> None:
        self.ours, self.theirs = ours, theirs
        self._layers, self._gates = layers, gates
        self._ours: dict[str, _Running] = {}
        self._theirs: dict[str, _Running] = {}

    def step(self, entering: Sequence[Array]) -> Iterator[OpDiff]:
        """Every operator of the step."""
        known = constants(self.ours.step.proto)
        layers = {self.ours.called(node): self._layer(array) for node, array in known.items()}
        right, found = (_stored(graph, layers) for graph in (self.ours, self.theirs))
        return self._walk(STEP, STEP, _Entering(entering, right), _Entering(entering, found), None)

    def _layer(self, array: Array) -> str | None:
        return nearest_layer(array, self._layers) if array.ndim > 1 else None

    def _walk(
        self, ours: str, theirs: str, expected: _Entering, given: _Entering, turn: int | None
    ) -> Iterator[OpDiff]:
        """Every operator of a part in turn, and those of a loop's body before the loop."""
        healthy = self._healthy(ours)
        part = self._spliced(ours, theirs, expected.stored, given.stored)
        right = healthy.run(expected.arrays, {*part.fed, *healthy.into_loops})
        fed = {name: right[name] for name in part.fed}
        found = part.run(given.arrays, {*part.fed, *part.into_loops}, fed)
        for operator in part.operators:
            reads = dict(part.stored(operator, given.stored))
            layer = next((layer for layer in reads.values() if layer), None)
            outputs = [tensor.name for tensor in operator.outputs if tensor.name in part.fed]
            errors = [
                op_error(operator.type, name, layer, right[name], found[name], self._gates, turn)
                for name in outputs
            ]
            if operator.type in _LOOPS and any(error.problem for error in errors):
                twin = healthy.graph.get_operation_by_name(operator.name)
                body, theirs_body = (op.get_attr("body").name for op in (twin, operator))
                unchanged = self._healthy(body).part.unchanged
                yield from self._loop(
                    twin.get_attr("cond").name, body, theirs_body,
                    _into(healthy, twin, right, expected, self.ours.part(body), unchanged),
                    _into(part, operator, found, given, self.theirs.part(theirs_body), unchanged),
                )  # fmt: skip
            yield from (dataclasses.replace(error, reads=tuple(reads)) for error in errors)

    def _loop(
        self, condition: str, ours: str, theirs: str, expected: _Entering, given: _Entering
    ) -> Iterator[OpDiff]:
        """The body of a loop, turn by turn; unchanged values stay those of each file."""
        test, body = self._healthy(condition), self._healthy(ours)
        turn, own = 1, {k: given.arrays[k] for k in body.part.unchanged}
        while test.leaving(expected.arrays)[0].all():
            yield from self._walk(ours, theirs, expected, given, turn)
            state, turn = body.leaving(expected.arrays), turn + 1
            expected = dataclasses.replace(expected, arrays=state)
            mixed = [own.get(k, array) for k, array in enumerate(state)]
            given = dataclasses.replace(given, arrays=mixed)

    def _healthy(self, name: str) -> _Running:
        """A part of the reference."""
        if name not in self._ours:
            self._ours[name] = _Running(self.ours.part(name))
        return self._ours[name]

    def _spliced(
        self, ours: str, theirs: str, stored: Mapping[str, Stored], of_theirs: Mapping[str, Stored]
    ) -> _Running:
        """A part of the candidate that reads values which the reference computes from inputs."""
        if theirs not in self._theirs:
            part = self.theirs.part(theirs)
            mine, other = self._healthy(ours).computed(stored), _Running(part).computed(of_theirs)
            self._theirs[theirs] = _Running(part, dict(other.items() & mine.items()))
        return self._theirs[theirs]


def _stored(graph: StepGraph, layers: Mapping[str, str | None]) -> dict[str, Stored]:
    """What the nodes of the step store."""
    names = {node: graph.called(node) for node in constants(graph.step.proto)}
    return {node: (name, layers.get(name)) for node, name in names.items()}


def _into(
    outside: _Running,
    loop: Any,
    values: Mapping[str, Array],
    entering: _Entering,
    body: Part,
    unchanged: Collection[int],
) -> _Entering:
    """The first inputs of the body of a loop, from the values of the part that the loop is in."""
    arrays = [values[tensor.name] for tensor in loop.inputs]
    origins = {k: outside.origin(loop.inputs[k], entering.stored) for k in unchanged}
    nodes = [name.partition(":")[0] for name in body.inputs]
    passed = {nodes[k]: item for k, item in origins.items() if item is not None}
    return _Entering(arrays, {**{node: (node, None) for node in constants(body.proto)}, **passed})


class _Running:
    """One part in its own session.

    Attributes:
        operators: all, each after those that it reads.
        into_loops: names of the initial values of loops.
        fed: names of the tensors that operators read from new inputs.
    """

    def __init__(self, part: Part, fed: Mapping[str, Any] | None = None) -> None:
        tf = load_engine()
        self.part, self.fed = part, fed or {}
        with tf.Graph().as_default() as self.graph:
            self._twins = {n: tf.compat.v1.placeholder(d, name="fed") for n, d in self.fed.items()}
            before = len(self.graph.get_operations())
            tf.import_graph_def(part.proto, input_map=self._twins, name="")
        config = tf.compat.v1.ConfigProto()
        # Otherwise operators that are fused, x * sigmoid(x) say, have no values to be asked for.
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = tf.compat.v1.Session(graph=self.graph, config=config)
        self._originals = {twin.name: name for name, twin in self._twins.items()}
        self.operators = self.graph.get_operations()[before:]
        self.into_loops = {x.name for op in self.operators if op.type in _LOOPS for x in op.inputs}

    def computed(self, stored: Mapping[str, Stored]) -> dict[str, Any]:
        """Dtypes of the tensors that operators compute, by name; stored tensors left out."""
        tensors = (
            tensor
            for operator in self.operators
            if operator.type not in _COMPUTE_NOTHING
            for tensor in operator.outputs
        )
        return {x.name: x.dtype for x in tensors if self.origin(x, stored) is None}

    def run(
        self,
        entering: Sequence[Array],
        wanted: Collection[str],
        fed: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """The tensors of these names."""
        feeds = dict(zip(self.part.inputs, entering, strict=True))
        feeds |= {self._twins[name].name: array for name, array in (fed or {}).items()}
        names = list(wanted)
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def leaving(self, entering: Sequence[Array]) -> list[Array]:
        """The outputs of the part, in order."""
        found = self.run(entering, self.part.outputs)
        return [found[name] for name in self.part.outputs]

    def is_fed(self, tensor: Any) -> bool:
        """Whether a tensor is one of the new inputs."""
        return tensor.name in self._originals

    def stored(self, operator: Any, known: Mapping[str, Stored]) -> Iterator[Stored]:
        """The stored tensors that an operator reads."""
        origins = (self.origin(tensor, known) for tensor in operator.inputs)
        return (item for item in origins if item is not None)

    def origin(self, tensor: Any, known: Mapping[str, Stored]) -> Stored | None:
        """The stored tensor that a tensor is, perhaps in another dtype or shape."""
        name = self._originals.get(tensor.name, tensor.name)
        operator = self.graph.get_tensor_by_name(name).op
        if operator.name in known:
            return known[operator.name]
        return self.origin(operator.inputs[0], known) if operator.type in _SAME else None


def _kept(path: Path, layers: Arrays) -> tuple[str, ...]:
    return ()  # of fp16 nothing is


def _changed(view: View, candidate: Path, fresh: Path) -> tuple[StoredChange, ...]:
    return changed_saved_model(_graph(view, candidate), _graph(view, fresh), view.layers)


def _walk(
    view: View, candidate: Path, right: Path, calls: Sequence[Arrays], gates: Gates, exact: bool
) -> Walk:
    ours, theirs = _graph(view, right), _graph(view, candidate)
    return walk_saved_model(theirs, ours, calls, view.layers, gates)


def _graph(view: View, path: Path) -> StepGraph:
    """A folder as this model's, read once."""
    return view.shared.once(("graph", path), lambda: graph_of(path, view.shared.model))


WALKER = Walker(_kept, _changed, _walk, saved_model_contents)
