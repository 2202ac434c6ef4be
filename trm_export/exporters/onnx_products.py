"""The multiplications of an ONNX graph by stored matrices: found, and replaced by others.

Works on `onnx.GraphProto` in place, bodies of loops included; a matrix that many nodes multiply by
is stored once. Knows nothing about precisions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from trm_export.exporters.onnx_graph import bodies, graphs, prune, replace

Array = np.ndarray[Any, Any]

_EVERYTHING = np.iinfo(np.int32).max  # the end of a slice that goes to the end of an axis


@dataclass(frozen=True)
class Columns:
    """A value that is some columns of the product with a stored matrix, or all of them."""

    out: str
    start: int
    stop: int


@dataclass(frozen=True)
class Weight:
    """A stored matrix, and the graph that it lies in: the outermost one."""

    tensor: TensorProto  # float32
    home: GraphProto
    nodes: dict[str, NodeProto] = field(default_factory=dict)  # that the home is still to get

    @property
    def name(self) -> str:
        """As in Keras, such as ``H_level/block_1/ffn/down``."""
        return self.tensor.name

    @property
    def values(self) -> Array:
        """``(K, N)`` float32."""
        return numpy_helper.to_array(self.tensor)

    def store(self, ending: str, values: Array | np.generic) -> str:
        """Puts an array beside the weight, once; returns its name."""
        return self.shared(f"{self.name}/{ending}", values)

    def shared(self, name: str, values: Array | np.generic) -> str:
        """Puts an array that other weights read, too, into the graph, once; returns its name."""
        if all(tensor.name != name for tensor in self.home.initializer):
            self.home.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def columns(self, ending: str, values: Array, part: Columns) -> str:
        """Stores an array ``(..., N)``, whole; returns the name of these columns of it."""
        return self.cut(self.store(ending, values), values.shape, part)

    def cut(self, stored: str, shape: tuple[int, ...], part: Columns) -> str:
        """The name of these columns of a constant ``(..., N)``.

        An engine cuts constants once, when it opens the file, and drops what it cut.
        """
        if part.stop - part.start == shape[-1]:
            return stored
        name, last = f"{stored}/{part.start}", len(shape) - 1
        ends = [self.store(f"column_{n}", np.array([n])) for n in (part.start, part.stop)]
        axis = self.store(f"axis_{last}", np.array([last]))
        self.nodes[name] = helper.make_node("Slice", [stored, *ends, axis], [name])
        return name


@dataclass(frozen=True)
class Product:
    """A multiplication by a stored matrix, and what the graph reads of it."""

    x: str  # (..., K) float32
    weight: Weight
    out: str  # its own name
    parts: tuple[Columns, ...]


def matrices(graph: GraphProto, names: set[str]) -> dict[str, Weight]:
    """The matrices among the named initializers; loop bodies read them from outside."""
    return {
        tensor.name: Weight(tensor, graph)
        for tensor in graph.initializer
        if tensor.name in names and len(tensor.dims) == 2
    }


def multiplications(graph: GraphProto, names: set[str]) -> Iterator[NodeProto]:
    """The nodes of the graph itself that multiply by a named matrix."""
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in names:
            yield node


class Uses:
    """Who makes and reads the values of a graph and its bodies, in which names do not repeat."""

    def __init__(self, graph: GraphProto, known: Mapping[str, Weight]) -> None:
        parts = list(graphs(graph))
        nodes = [node for part in parts for node in part.node]
        self._known = known
        self._makers = {name: node for node in nodes for name in node.output}
        self._readers = defaultdict[str, list[NodeProto]](list)
        for node in nodes:
            for name in node.input:
                self._readers[name].append(node)
        self._outputs = {value.name for part in parts for value in part.output}
        self._stored = {tensor.name: tensor for part in parts for tensor in part.initializer}
        self.replaced: set[str] = set()  # values that new nodes make

    def is_product(self, node: NodeProto) -> bool:
        """Whether a node multiplies by a matrix that is to be quantised."""
        return node.op_type == "MatMul" and node.input[1] in self._known

    def transposed(self, name: str) -> int:
        """The rank of a value that a transposition makes; 0 of any other."""
        maker = self._makers.get(name, NodeProto())
        return sum(len(a.ints) for a in maker.attribute) if maker.op_type == "Transpose" else 0

    def only(self, name: str, kind: str) -> NodeProto | None:
        """The only reader of a value, if it is of this type."""
        readers = self._all(name)
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    def _all(self, name: str) -> list[NodeProto]:
        """The readers; none where the value is also an output of its graph."""
        return [] if name in self._outputs else self._readers[name]

    def parts(self, out: str, width: int) -> tuple[Columns, ...]:
        """The columns of a product that the graph cuts out of it, gate and up, say; or all."""
        readers = self._all(out)
        parts = [part for node in readers if (part := self._cut(node, width))]
        parts.sort(key=lambda part: part.start)
        ends = [0, *(part.stop for part in parts)]
        if len(readers) == len(parts) > 1 and ends == [*(part.start for part in parts), width]:
            self.replaced.update(part.out for part in parts)
            return tuple(parts)
        return (Columns(out, 0, width),)

    def _cut(self, node: NodeProto, width: int) -> Columns | None:
        """The columns that a node takes, if it does nothing else."""
        if node.op_type != "Slice" or any(name not in self._stored for name in node.input[1:]):
            return None
        starts, stops, axes = (numpy_helper.to_array(self._stored[x]) for x in node.input[1:4])
        whole = not starts[:-1].any() and bool((stops[:-1] >= _EVERYTHING).all())
        if len(node.input) > 4 or not whole or axes.tolist() != list(range(len(axes))):
            return None
        return Columns(node.output[0], int(starts[-1]), min(int(stops[-1]), width))


Multiply = Callable[[Product, Uses], list[NodeProto]]


def quantise(graph: GraphProto, names: set[str], multiply: Multiply) -> None:
    """Replaces every such multiplication by the nodes of ``multiply``.

    Where the graph cuts a product in columns, each of them is multiplied by its columns of the
    matrix instead: an engine would copy the product.
    """
    known = matrices(graph, names)
    _quantise(graph, known, multiply, Uses(graph, known))
    constants = [node for weight in known.values() for node in weight.nodes.values()]
    replace(graph, [*constants, *graph.node])
    prune(graph)


def _quantise(
    graph: GraphProto, known: Mapping[str, Weight], multiply: Multiply, uses: Uses
) -> None:
    nodes: list[NodeProto] = []
    for node in graph.node:
        for body in bodies(node):
            _quantise(body, known, multiply, uses)
        if uses.is_product(node):
            weight, out = known[node.input[1]], node.output[0]
            parts = uses.parts(out, weight.tensor.dims[1])
            nodes += multiply(Product(node.input[0], weight, out, parts), uses)
        elif uses.replaced.isdisjoint(node.output):
            nodes.append(node)
    replace(graph, nodes)
