"""The digests of the graph of a SavedModel; see `trm_export.stored.graph`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trm_export.stored.graph import Key, Keys, Known, StoredGraph, argument, made
from trm_export.stored.saved_model_file import STEP, Part, StepGraph
from trm_runtime.drivers.saved_model import load_engine


def stored_graph(graph: StepGraph, known: Known) -> StoredGraph:
    """The graph of a folder; `known` see `Keys`."""
    keys = Keys(known)
    entering = [made("input", name) for name in graph.names]
    leaving = _Reader(graph, keys).outputs(STEP, entering, 0)
    return keys.graph(dict(zip(graph.outputs, leaving, strict=True)))


class _Reader:
    """The digests of the parts of one graph."""

    def __init__(self, graph: StepGraph, keys: Keys) -> None:
        self._graph, self._keys = graph, keys

    def outputs(self, name: str, entering: list[Key], depth: int) -> list[Key]:
        """The digests of the outputs of a part that gets these inputs."""
        part = self._graph.part(name)
        scope = dict(zip((_node(tensor) for tensor in part.inputs), entering, strict=True))
        nodes = {node.name: node for node in part.proto.node}
        for node in _ordered(part, nodes):
            if node.name not in scope:
                scope[node.name] = self._key(node, scope, depth, name == STEP)
        return [_read(tensor, scope) for tensor in part.outputs]

    def _key(self, node: Any, scope: Mapping[str, Key], depth: int, outermost: bool) -> Key:
        if node.op == "Const":
            array = load_engine().make_ndarray(node.attr["value"].tensor)
            name = self._graph.called(node.name) if outermost else node.name
            return self._keys.constant(name, array)
        reads = [_read(tensor, scope) for tensor in _inputs(node)]
        facts = []
        for attribute in sorted(node.attr):
            value = node.attr[attribute]
            if value.HasField("func"):
                part = self._graph.part(value.func.name)
                bound = [argument(depth, k) for k in range(len(part.inputs))]
                facts.append(attribute)
                reads += self.outputs(value.func.name, bound, depth + 1)
            elif not attribute.startswith("_"):
                facts.append(f"{attribute} {value.SerializeToString(deterministic=True).hex()}")
        return self._keys.operator(node.op, node.name, reads, *facts)


def _ordered(part: Part, nodes: Mapping[str, Any]) -> Iterator[Any]:
    """The nodes that the outputs need, each after those that it reads."""
    done: set[str] = set()
    waiting = [(_node(tensor), False) for tensor in reversed(part.outputs)]
    while waiting:
        name, ready = waiting.pop()
        if name in done:
            continue
        if ready:
            done.add(name)
            yield nodes[name]
        else:
            waiting += [(name, True), *((_node(x), False) for x in _inputs(nodes[name]))]


def _inputs(node: Any) -> list[str]:
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _node(tensor: str) -> str:
    return tensor.partition(":")[0]


def _read(tensor: str, scope: Mapping[str, Key]) -> Key:
    """The digest of a tensor, ``node``, ``node:0`` or, in a function, ``node:result:0``."""
    node, _, number = tensor.partition(":")
    number = number.rpartition(":")[2] or "0"
    return scope[node] if number == "0" else f"{scope[node]}:{number}"
