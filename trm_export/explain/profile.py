"""The time of the nodes of a graph, put together by kind, by operator and by layer.

Knows no format: a profiler measures the nodes, see `HostKind.profiler`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

PRODUCTS, CONVERSIONS, COPIES, REST = "matrix products", "conversions", "copies", "other operators"
AFTER = "after all products"
_CONVERSIONS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}
_COPIES = {"Concat", "Expand", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze",
           "Tile", "Transpose", "Unsqueeze"}  # fmt: skip
_COSTLIEST = 3


def is_product(op: str) -> bool:
    """Whether an operator multiplies matrices."""
    return "MatMul" in op or op == "Gemm"


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph."""

    op: str
    layer: str | None  # the matrix of the product that it is, or that it leads to
    ms: float  # in a call
    times: int  # it runs in a call: more than once in a loop

    @property
    def kind(self) -> str:
        """Product, conversion, copy or anything else."""
        if is_product(self.op):
            return PRODUCTS
        if self.op in _CONVERSIONS:
            return CONVERSIONS
        return COPIES if self.op in _COPIES else REST

    @property
    def thing(self) -> str:
        """The operator and its layer in words."""
        way = "of" if self.kind == PRODUCTS else "before"
        return f"{self.op} {way} {self.layer}" if self.layer else f"{self.op} {AFTER}"


@dataclass(frozen=True)
class Measured:
    """What a profiler measured."""

    engine: str  # name and version
    calls: int  # of the graph
    ms: float  # processor time of a call without the profiler, which adds to every node
    nodes: tuple[NodeTime, ...]


@dataclass(frozen=True)
class Cost:
    """One row of a table."""

    name: str
    ms: float  # a call
    share: float  # of the time of all nodes
    nodes: int  # that run in a call


@dataclass(frozen=True)
class Costs:
    """The time of a call of the graph, in four ways; each the costliest first."""

    kinds: tuple[Cost, ...]
    operators: tuple[Cost, ...]
    layers: tuple[Cost, ...]  # with everything from the previous product on
    costliest: tuple[Cost, ...]  # operators of a layer

    def to_json(self) -> dict[str, Any]:
        """Lists of objects."""
        return asdict(self)


def costs(measured: Measured) -> Costs:
    """The tables."""

    total = sum(node.ms for node in measured.nodes) or 1.0

    def by(name: Callable[[NodeTime], str]) -> tuple[Cost, ...]:
        found = defaultdict[str, list[NodeTime]](list)
        for node in measured.nodes:
            found[name(node)].append(node)
        rows = (_cost(one, nodes, total) for one, nodes in found.items())
        return tuple(sorted(rows, key=lambda row: (-row.ms, row.name)))

    return Costs(
        kinds=by(lambda node: node.kind),
        operators=by(lambda node: node.op),
        layers=by(lambda node: node.layer or AFTER),
        costliest=by(lambda node: node.thing)[:_COSTLIEST],
    )


def _cost(name: str, nodes: Iterable[NodeTime], total: float) -> Cost:
    several = tuple(nodes)
    spent = sum(node.ms for node in several)
    return Cost(name, spent, spent / total, sum(node.times for node in several))
