"""Small edits of ONNX graphs: loops inlined or slimmed, dead nodes dropped, names shortened.

Works on `onnx.GraphProto` in place, bodies of loops included. Knows nothing about models.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, Any]

_TINY = 8  # most elements of a value that is computed here
_MOST_TURNS = 1000
_LARGE = 256  # bytes of a constant that is worth a look for others like it


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and every graph inside it, outer ones first."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def replace(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Replaces the graph's nodes by these."""
    new = list(nodes)
    del graph.node[:]
    graph.node.extend(new)


def order(graph: GraphProto) -> None:
    """Puts nodes and initializers in the order in which the outputs need them, bodies included.

    A converter may order nodes at random; afterwards the order depends only on the graph.
    """
    for node in graph.node:
        for body in bodies(node):
            order(body)
    makers = {name: k for k, node in enumerate(graph.node) for name in node.output if name}
    placed: dict[int, None] = {}
    read: dict[str, None] = {}
    waiting = [(value.name, False) for value in reversed(graph.output)]
    while waiting:  # depth first, without recursion: chains are as long as the recursion is deep
        name, ready = waiting.pop()
        number = makers.get(name)
        if number is None:
            read.setdefault(name)
        elif ready:
            placed.setdefault(number)
        elif number not in placed:
            needs = dict.fromkeys(_uses(graph.node[number]))
            waiting += [(name, True), *((need, False) for need in reversed(needs) if need)]
    rest = [k for k in range(len(graph.node)) if k not in placed]
    nodes = [graph.node[k] for k in (*placed, *rest)]
    rank = {name: k for k, name in enumerate(read)}
    stored = sorted(graph.initializer, key=lambda tensor: rank.get(tensor.name, len(rank)))
    replace(graph, nodes)
    del graph.initializer[:]
    graph.initializer.extend(stored)


def rename(graph: GraphProto, name: Callable[[str], str]) -> None:
    """Gives every value of the graph and its bodies a new name."""
    for part in graphs(graph):
        for value in (*part.input, *part.output, *part.initializer):
            value.name = name(value.name)
        for node in part.node:
            node.input[:] = [name(x) if x else x for x in node.input]
            node.output[:] = [name(x) if x else x for x in node.output]


def name_nodes(graph: GraphProto) -> None:
    """Gives every node without a name a short one: some tools make up names that are taken."""
    nodes = [node for part in graphs(graph) for node in part.node if not node.name]
    for number, node in enumerate(nodes):
        node.name = f"n{number}"


def capture_invariants(graph: GraphProto) -> None:
    """Lets loop bodies read values that never change from outside, instead of carrying them.

    An engine does not treat a carried weight as a constant, and so cannot pack it once; a
    quantizer does not treat it as a weight.
    """
    for part in graphs(graph):  # outer graphs first, so that a weight reaches the innermost body
        same: dict[str, str] = {}
        for node in part.node:
            if node.op_type == "Loop":
                same |= _captured(node)
        if same:
            rename(part, lambda name, same=same: same.get(name, name))  # type: ignore[misc]


def _captured(loop: NodeProto) -> dict[str, str]:
    """Removes unchanging values from one loop; returns former outputs -> equal inputs."""
    body = next(bodies(loop))
    copies = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity"}
    ends = [copies.get(value.name, value.name) for value in body.output]
    fixed = [k for k in range(len(loop.input) - 2) if ends[k + 1] == body.input[k + 2].name]
    inside = {body.input[k + 2].name: loop.input[k + 2] for k in fixed}
    after = {loop.output[k]: loop.input[k + 2] for k in fixed if loop.output[k]}
    for k in reversed(fixed):
        del loop.input[k + 2], loop.output[k], body.input[k + 2], body.output[k + 1]
    rename(body, lambda name: inside.get(name, name))
    return after


def share(graph: GraphProto, apart: Collection[str]) -> None:
    """Stores large equal constants once, in the outermost graph, except for those named in `apart`.

    A converter may store the same table in every body that reads it, and for each of its readers.
    """
    known: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    for part in graphs(graph):
        same: dict[str, str] = {}
        for tensor in list(part.initializer):
            content = numpy_helper.to_array(tensor).tobytes()
            if tensor.name in apart or len(content) < _LARGE:
                continue
            key = tensor.data_type, tuple(tensor.dims), content
            if key in known:
                same[tensor.name] = known[key]
            elif part is not graph:
                graph.initializer.append(tensor)
            if key in known or part is not graph:
                part.initializer.remove(tensor)
            known.setdefault(key, tensor.name)
        rename(part, lambda name, same=same: same.get(name, name))  # type: ignore[misc]


def prune(graph: GraphProto) -> None:
    """Drops nodes and initializers that nothing needs, in the graph and its bodies."""
    for node in graph.node:
        for body in bodies(node):
            prune(body)
    needed = {value.name for value in graph.output}
    needed_nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed_nodes.append(node)
            needed.update(_uses(node))
    replace(graph, reversed(needed_nodes))
    used = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(used)


def _uses(node: NodeProto) -> Iterator[str]:
    yield from node.input
    for body in bodies(node):
        yield from (value.name for value in body.output)
        for inner in body.node:
            yield from _uses(inner)


def unroll(graph: GraphProto, outside: Mapping[str, Array] | None = None) -> None:
    """Inlines every loop whose number of turns is known, one copy of its body a turn.

    What depends on the turn alone is computed here, and a select by it becomes the chosen side.
    Its mask must have the shape of the sides, as in `TRMInner.one_pass`. Values must have
    different names in all bodies. Leaves nodes that nothing needs behind, see `prune`.
    """
    known = dict(outside or {}) | _small(graph)
    nodes: list[NodeProto] = []
    for node in graph.node:
        for body in bodies(node):
            unroll(body, known)
        inlined = _inlined(node, graph, known) if node.op_type == "Loop" else None
        nodes += [node] if inlined is None else inlined
        _compute(node, known)
    replace(graph, nodes)


def _small(graph: GraphProto) -> dict[str, Array]:
    small = (t for t in graph.initializer if np.prod(t.dims) <= _TINY)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in small}


def _compute(node: NodeProto, known: dict[str, Array]) -> None:
    """Adds the node's outputs to the known values if all its inputs are known."""
    names = [name for name in node.input if name]
    if not names or list(bodies(node)) or any(name not in known for name in names):
        return
    results = ReferenceEvaluator(node).run(None, {name: known[name] for name in names})
    small = (pair for pair in zip(node.output, results, strict=True) if np.size(pair[1]) <= _TINY)
    known.update((name, np.asarray(value)) for name, value in small)


def _inlined(loop: NodeProto, graph: GraphProto, known: dict[str, Array]) -> list[NodeProto] | None:
    """The copies of the body, or None where the number of turns is not known.

    A loop that also gathers a value of every turn, as that of a recurrent layer, is left as it is.
    """
    body = next(bodies(loop))
    gathers = len(body.output) != len(body.input) - 1  # an input more is the number of the turn
    if gathers or len(body.output) - 1 != len(loop.output):
        return None
    if any(list(bodies(node)) for node in body.node):
        return None
    limit = known.get(loop.input[0], _MOST_TURNS) if loop.input[0] else _MOST_TURNS
    going = known.get(loop.input[1]) if loop.input[1] else np.array(True)
    turn, names = _Turn(body, known | _small(body)), [loop.input[1], *loop.input[2:]]
    for number in itertools.count():
        if going is None or number >= _MOST_TURNS:
            return None
        if not going or number >= limit:
            break
        names = turn.run(number, names)
        going = turn.known.get(names[0])
    graph.initializer.extend([*body.initializer, *turn.constants])
    return [*_named(turn.nodes, dict(zip(names[1:], loop.output, strict=True)))]


class _Turn:
    """Copies a loop body turn by turn."""

    def __init__(self, body: GraphProto, known: dict[str, Array]) -> None:
        self._body, self.known = body, known
        self._everywhere: dict[str, Array] = {}  # the one value of all elements of a mask
        self.nodes: list[NodeProto] = []
        self.constants: list[Any] = []

    def run(self, number: int, incoming: list[str]) -> list[str]:
        """One turn; takes and returns the names of the condition and the carried values."""
        count = f"turn_{number}/{self._body.input[0].name}"
        self.known[count] = np.array(number)
        self.constants.append(numpy_helper.from_array(np.array(number), count))
        values = zip(self._body.input, [count, *incoming], strict=True)
        bound = {value.name: name for value, name in values}
        for node in self._body.node:
            self._add(node, number, bound)
        return [bound.get(value.name, value.name) for value in self._body.output]

    def _add(self, node: NodeProto, number: int, bound: dict[str, str]) -> None:
        inputs = [bound.get(name, name) for name in node.input]
        if node.op_type == "Identity":
            bound[node.output[0]] = inputs[0]
        elif node.op_type == "Where" and inputs[0] in self._everywhere:
            bound[node.output[0]] = inputs[1 if self._everywhere[inputs[0]] else 2]
        else:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = inputs
            copy.output[:] = [f"turn_{number}/{name}" if name else "" for name in node.output]
            bound.update(zip(node.output, copy.output, strict=True))
            self.nodes.append(copy)
            _compute(copy, self.known)
            if node.op_type == "Expand" and np.size(self.known.get(inputs[0], ())) == 1:
                self._everywhere[copy.output[0]] = self.known[inputs[0]].reshape(())


def _named(nodes: list[NodeProto], outputs: dict[str, str]) -> Iterator[NodeProto]:
    """The nodes, in which the loop's outputs have the names that other nodes read."""
    computed = {name for node in nodes for name in node.output}
    own = {name: output for name, output in outputs.items() if name in computed and output}
    for node in nodes:
        node.input[:] = [own.get(name, name) for name in node.input]
        node.output[:] = [own.get(name, name) for name in node.output]
        yield node
    for name, output in outputs.items():
        if output and name not in own:
            yield helper.make_node("Identity", [name], [output])
