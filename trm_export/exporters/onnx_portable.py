"""Write an ONNX step with operators that more engines, compilers and converters read.

What a step computes is the same, to the bit. TensorFlow broadcasts, fills and counts with operators
that take a shape which is computed at run time; compilers of a fixed shape refuse those, and so do
converters to other formats. Which tools read a file, and what stopped them: docs/other-engines.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference

from trm_export.exporters.onnx_graph import graphs, prune

Array = np.ndarray[Any, Any]
Size = int | str | tuple[str, int]
"""Of an axis: a number, the name of one ("batch"), or that of a tensor whose axis has it."""
Sizes = tuple[Size, ...]

MOST_TURNS = np.int64(2**31 - 1)  # of a loop that ends by its condition


def simplify(proto: ModelProto) -> None:
    """Rewrites the graph in place; the shapes of its inputs and outputs must be declared."""
    inferred = shape_inference.infer_shapes(proto).graph
    known = {name: sizes for part in graphs(inferred) for name, sizes in _declared(part)}
    stored = {t.name: numpy_helper.to_array(t) for part in graphs(proto.graph)
              for t in part.initializer}  # fmt: skip
    for part in graphs(proto.graph):
        _Part(part, known, stored).simplify()
    prune(proto.graph)


def _declared(graph: GraphProto) -> Iterator[tuple[str, Sizes]]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            dims = enumerate(tensor.shape.dim)
            yield (
                value.name,
                tuple(
                    dim.dim_value
                    if dim.HasField("dim_value")
                    else dim.dim_param or (value.name, axis)
                    for axis, dim in dims
                ),
            )


class _Part:
    """A graph, or the body of a loop, whose nodes are rewritten."""

    def __init__(
        self, graph: GraphProto, known: dict[str, Sizes], stored: dict[str, Array]
    ) -> None:
        self._graph, self._known, self._stored = graph, known, stored
        self._made: dict[str, Array] = {}
        self._makers = {name: node for node in graph.node for name in node.output}

    def simplify(self) -> None:
        rules: dict[str, Callable[[NodeProto], None]] = {
            "Where": self._select,
            "Concat": self._padded,
            "Gather": self._looked_up,
            "GreaterOrEqual": self._compared,
            "LessOrEqual": self._compared,
            "Loop": self._counted,
        }
        for node in self._graph.node:
            if node.op_type in rules:
                rules[node.op_type](node)

    def _select(self, node: NodeProto) -> None:
        """A select broadcasts by itself: nothing is expanded to the shape of another operand."""
        made = [self._made_by(name, "Expand", "ConstantOfShape") for name in node.input]
        full = [self._known.get(x) for x, maker in zip(node.input, made, strict=True) if not maker]
        for place, maker in enumerate(made):
            sizes = self._sizes(maker.input[-1]) if maker else None
            if maker and sizes and sizes in full:
                node.input[place] = self._filling(maker)
                self._known[node.output[0]] = sizes

    def _filling(self, maker: NodeProto) -> str:
        if maker.op_type == "Expand":
            return maker.input[0]
        return self._constant(_fill(maker).reshape(()), "fill")

    def _padded(self, node: NodeProto) -> None:
        """Zeros in front of a tensor are its padding."""
        maker = self._made_by(node.input[0], "Expand", "ConstantOfShape")
        if maker is None or len(node.input) != 2 or not self._is_zeros(maker):
            return
        sizes, (axis,) = self._sizes(maker.input[-1]), (x.i for x in node.attribute)
        if sizes is None or not isinstance(sizes[axis], int):
            return
        before = np.zeros(len(sizes), np.int64)
        before[axis] = sizes[axis]
        padding = self._constant(np.concatenate([before, np.zeros_like(before)]), "padding")
        _become(node, "Pad", node.input[1], padding)

    def _is_zeros(self, maker: NodeProto) -> bool:
        if maker.op_type == "ConstantOfShape":
            return not any(_fill(maker).tobytes())
        return maker.input[0] in self._stored and not any(self._stored[maker.input[0]].tobytes())

    def _looked_up(self, node: NodeProto) -> None:
        """ONNX counts a negative index from the end, as TensorFlow is made to by a select."""
        select = self._made_by(node.input[1], "Where")
        if select is None:
            return
        less, moved = self._made_by(select.input[0], "Less"), self._made_by(select.input[1], "Add")
        index, table = select.input[2], self._stored.get(node.input[0])
        if table is None or less is None or moved is None:
            return
        compared, axis = (
            self._made_by(less.input[0], "Cast"),
            next((x.i for x in node.attribute), 0),
        )
        same = (compared.input[0] if compared else less.input[0]) == index == moved.input[0]
        zero, size = self._stored.get(less.input[1]), self._stored.get(moved.input[1])
        if same and zero is not None and np.all(zero == 0) and np.all(size == table.shape[axis]):
            node.input[1] = index

    def _compared(self, node: NodeProto) -> None:
        """Integers: ``x >= 16`` is ``15 < x``, by the comparison that most tools have."""
        limit = self._stored.get(node.input[1])
        if limit is None or limit.dtype.kind != "i":
            return
        ends, at_least = np.iinfo(limit.dtype), node.op_type == "GreaterOrEqual"
        if np.any(limit == (ends.min if at_least else ends.max)):
            return
        beyond = self._constant(limit + limit.dtype.type(-1 if at_least else 1), "limit")
        _become(node, "Less", *((beyond, node.input[0]) if at_least else (node.input[0], beyond)))

    def _counted(self, node: NodeProto) -> None:
        """A loop has a number of turns, though its condition ends it: some tools want one."""
        if not node.input[0]:
            node.input[0] = self._constant(np.array(MOST_TURNS), "most_turns")

    def _made_by(self, name: str, *kinds: str) -> NodeProto | None:
        node = self._makers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def _sizes(self, name: str) -> Sizes | None:
        """The sizes that a computed shape consists of; None if it is computed otherwise."""
        if name in self._stored:
            return tuple(self._stored[name].ravel().tolist())
        node = self._makers.get(name, NodeProto())
        if node.op_type == "Shape" and not node.attribute:
            return self._known.get(node.input[0])
        parts = [self._sizes(x) for x in node.input[: None if node.op_type == "Concat" else 1]]
        if any(part is None for part in parts):
            return None
        sizes = tuple(itertools.chain.from_iterable(part for part in parts if part is not None))
        if node.op_type in ("Cast", "Concat"):
            return sizes
        if node.op_type == "Slice" and all(x in self._stored for x in node.input[1:]):
            start, stop, *rest = (int(self._stored[x].item()) for x in node.input[1:])
            return sizes[start : stop : rest[1] if len(rest) > 1 else 1]
        return None

    def _constant(self, value: Array, name: str) -> str:
        """Stores a constant in this graph, equal ones once; returns its name."""
        for known, array in self._made.items():
            if array.dtype == value.dtype and np.array_equal(array, value):
                return known
        names = (f"{name}_{number}" for number in itertools.count(1))
        new = next(name for name in names if name not in self._stored)
        self._made[new] = self._stored[new] = value
        self._graph.initializer.append(numpy_helper.from_array(value, new))
        return new


def _fill(maker: NodeProto) -> Array:
    """The value, of one element, of a `ConstantOfShape`."""
    return next((numpy_helper.to_array(x.t) for x in maker.attribute), np.zeros(1, np.float32))


def _become(node: NodeProto, kind: str, *inputs: str) -> None:
    new = helper.make_node(kind, inputs, node.output, node.name)
    node.CopyFrom(new)
