"""Write an ONNX step with operators that more engines, compilers and converters read.

What a step computes is the same. TensorFlow broadcasts, fills and counts with operators that take a
shape which is computed at run time; compilers of a fixed shape refuse those, and so do converters
to other formats. Which tools read a file, and what stopped them: docs/other-engines.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from trm_export.exporters.onnx_graph import graphs, prune

Array = np.ndarray[Any, Any]
Size = int | str | tuple[str, int]
"""Of an axis: a number, the name of one ("batch"), or that of a tensor whose axis has it."""
Sizes = tuple[Size, ...]

MOST_TURNS = np.int64(2**31 - 1)  # of a loop that ends by its condition
PADDED = ("bool", "int8", "uint8", "int32", "uint32", "int64", "uint64",
          "float16", "float32", "float64")  # fmt: skip
"""The dtypes of onnxruntime's `Pad`, from 1.18 to 1.32."""
_SMALL = 64  # most elements of a constant that is looked at


def simplify(proto: ModelProto) -> None:
    """Rewrites the graph in place; the shapes of its inputs and outputs must be declared."""
    parts = list(graphs(proto.graph))
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for part in parts
        for tensor in part.initializer
        if np.prod(tensor.dims) <= _SMALL
    }
    with _without_weights(parts):
        inferred = infer_shapes(proto).graph
    known = {name: sizes for part in graphs(inferred) for name, sizes in _declared(part)}
    taken = {name for part in parts for name in _names(part)}
    for part in parts:
        _Part(part, known, stored, taken).simplify()
    prune(proto.graph)


@contextmanager
def _without_weights(parts: list[GraphProto]) -> Iterator[None]:
    """Large constants have no values inside, only shapes, so that a copy takes little memory."""
    tensors = (tensor for part in parts for tensor in part.initializer)
    large = [t for t in tensors if np.prod(t.dims) > _SMALL and t.HasField("raw_data")]
    values = [tensor.raw_data for tensor in large]
    for tensor in large:
        tensor.ClearField("raw_data")
    try:
        yield
    finally:
        for tensor, value in zip(large, values, strict=True):
            tensor.raw_data = value


def _declared(graph: GraphProto) -> Iterator[tuple[str, Sizes]]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            sizes = (
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or (value.name, axis)
                for axis, dim in enumerate(tensor.shape.dim)
            )
            yield value.name, tuple(sizes)
    yield from ((tensor.name, tuple(tensor.dims)) for tensor in graph.initializer)


def _names(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    yield from (name for node in graph.node for name in node.output)


class _Part:
    """A graph, or the body of a loop, whose nodes are rewritten."""

    def __init__(
        self, graph: GraphProto, known: dict[str, Sizes], stored: dict[str, Array], taken: set[str]
    ) -> None:
        self._graph, self._known, self._stored, self._taken = graph, known, stored, taken
        self._made: dict[str, Array] = {}
        self._makers = {name: node for node in graph.node for name in node.output}

    def simplify(self) -> None:
        rules: dict[str, Callable[[NodeProto], None]] = {
            "Reshape": self._spread,
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
                if all(self._fits(name, sizes) for name in node.input):
                    self._known[node.output[0]] = sizes

    def _fits(self, name: str, sizes: Sizes) -> bool:
        """Whether a tensor broadcasts to these sizes, and to no more."""
        own = self._known.get(name)
        if own is None or len(own) > len(sizes):
            return False
        pairs = zip(reversed(own), reversed(sizes), strict=False)
        return all(size in (1, wanted) for size, wanted in pairs)

    def _filling(self, maker: NodeProto) -> str:
        if maker.op_type == "Expand":
            return maker.input[0]
        return self._constant(_fill(maker).reshape(()), "fill")

    def _spread(self, node: NodeProto) -> None:
        """Notes the shape of a vector that gets axes of one, which inference does not find."""
        sizes, target = self._known.get(node.input[0], ()), self._stored.get(node.input[1])
        new = [] if target is None else target.tolist()
        if len(sizes) == 1 and new.count(-1) == 1 and new.count(1) == len(new) - 1:
            self._known[node.output[0]] = tuple(sizes[0] if size < 0 else 1 for size in new)

    def _padded(self, node: NodeProto) -> None:
        """Zeros in front of a tensor are its padding."""
        maker = self._made_by(node.input[0], "Expand", "ConstantOfShape")
        whole, axis = self._known.get(node.input[-1]), node.attribute[0].i
        if maker is None or not whole or len(node.input) != 2:
            return
        sizes, zeros = self._sizes(maker.input[-1]), self._filled_with(maker)
        if sizes is None or len(sizes) != len(whole) or not isinstance(sizes[axis], int):
            return
        if zeros is None or any(zeros.tobytes()) or zeros.dtype.name not in PADDED:
            return
        if maker.op_type == "Expand" and not self._fits(maker.input[0], sizes):
            return
        before = np.zeros(len(sizes), np.int64)
        before[axis] = sizes[axis]
        padding = self._constant(np.concatenate([before, np.zeros_like(before)]), "padding")
        _become(node, "Pad", node.input[1], padding)

    def _filled_with(self, maker: NodeProto) -> Array | None:
        if maker.op_type == "ConstantOfShape":
            return _fill(maker)
        return self._stored.get(maker.input[0])

    def _looked_up(self, node: NodeProto) -> None:
        """ONNX counts a negative index from the end, as TensorFlow is made to by a select."""
        select = self._made_by(node.input[1], "Where")
        if select is None:
            return
        less, moved = self._made_by(select.input[0], "Less"), self._made_by(select.input[1], "Add")
        index, table = select.input[2], self._known.get(node.input[0])
        if not table or less is None or moved is None:
            return
        compared = self._made_by(less.input[0], "Cast") or less
        axis = next((x.i for x in node.attribute), 0)
        numbers = [self._stored.get(name) for name in (less.input[1], moved.input[1])]
        rank = len(self._known.get(index, ()))
        if any(number is None or number.size != 1 or number.ndim > rank for number in numbers):
            return
        zero, size = (number.item() for number in numbers if number is not None)
        same = compared.input[0] == index == moved.input[0]
        if same and zero == 0 and size == table[axis]:
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
        if node.op_type == "Cast" and node.attribute[0].i in (TensorProto.INT32, TensorProto.INT64):
            return self._sizes(node.input[0])
        if node.op_type == "Concat":
            parts = [self._sizes(part) for part in node.input]
            known = [part for part in parts if part is not None]
            return tuple(itertools.chain(*known)) if len(known) == len(parts) else None
        if node.op_type == "Slice":
            sizes, given = self._sizes(node.input[0]), [self._stored.get(x) for x in node.input[1:]]
            numbers = [x.item() for x in given if x is not None and x.size == 1]
            if sizes is None or len(numbers) != len(given) or numbers[3:] not in ([], [1]):
                return None
            return sizes[numbers[0] : numbers[1]]
        return None

    def _constant(self, value: Array, name: str) -> str:
        """Stores a constant in this graph, equal ones once; returns its name."""
        for known, array in self._made.items():
            same = array.dtype == value.dtype and array.shape == value.shape
            if same and array.tobytes() == value.tobytes():
                return known
        names = (f"{name}_{number}" for number in itertools.count(1))
        new = next(name for name in names if name not in self._taken)
        self._taken.add(new)
        self._made[new] = self._stored[new] = value
        self._graph.initializer.append(numpy_helper.from_array(value, new))
        return new


def _fill(maker: NodeProto) -> Array:
    """The value, of one element, of a `ConstantOfShape`."""
    return next((numpy_helper.to_array(x.t) for x in maker.attribute), np.zeros(1, np.float32))


def _become(node: NodeProto, kind: str, *inputs: str) -> None:
    new = helper.make_node(kind, inputs, node.output, node.name)
    node.CopyFrom(new)
