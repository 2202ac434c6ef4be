"""The error of one operator's result when its inputs are those of the reference's operator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trm_runtime.parity import Gates

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Labels = Mapping[tuple[int, int], str]
"""Numbers of a subgraph and of a stored tensor in it -> the layer it belongs to."""


@dataclasses.dataclass(frozen=True)
class OpDiff:
    """One operator, or the few that replace it, on the reference's own inputs.

    Attributes:
        op: its type, as the format calls it.
        output: name of the tensor it computes.
        layer: the layer whose matrix it multiplies by, if it does.
        turn: the pass of the step that it belongs to, from 1; None outside of the recursion.
        relative_l2: of its output, infinite for a NaN or another shape.
        cosine: of its output.
        problem: why it leaves the tolerance, None if it does not.
        reads: names of the stored tensors that it reads.
    """

    op: str
    output: str
    layer: str | None
    turn: int | None
    relative_l2: float
    cosine: float
    problem: str | None
    reads: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The operator in words."""
        where = "" if self.turn is None else f", in pass {self.turn}"
        return f"{self.op} of {self.layer}{where}" if self.layer else f"{self.op}{where}"


@dataclasses.dataclass(frozen=True)
class StoredChange:
    """One stored tensor that differs from that of a new export.

    Attributes:
        layer: the matrix of the model that it belongs to; None for a constant of the graph.
        tensor: its name in the file; in TFLite also whether its values or its scales differ.
        how: the difference, in words.
    """

    layer: str | None
    tensor: str
    how: str

    @property
    def words(self) -> str:
        """The change in words."""
        of = f" ({self.layer})" if self.layer and not self.tensor.startswith(self.layer) else ""
        return f"{self.tensor}{of}: {self.how}"


@dataclasses.dataclass(frozen=True)
class Walk:
    """The operators of a file in their order, each compared by itself.

    Attributes:
        compared: tensors that file and reference have in common; every repeated pass counts.
        first: the first operator outside the tolerance.
        largest: the operator with the largest relative L2 of those compared.
    """

    compared: int = 0
    first: OpDiff | None = None
    largest: OpDiff | None = None

    def over(self, found: Iterable[OpDiff]) -> Walk:
        """This walk and some more operators, up to the first one outside the tolerance."""
        compared, largest = self.compared, self.largest
        for one in found:
            compared += 1
            if largest is None or one.relative_l2 > largest.relative_l2:
                largest = one
            if one.problem:
                return Walk(compared, one, largest)
        return Walk(compared, None, largest)


def op_error(
    op: str,
    output: str,
    layer: str | None,
    expected: Array,
    got: Array,
    gates: Gates,
    turn: int | None = None,
) -> OpDiff:
    """Both of any shape and dtype; what is not finite in the reference does not count."""
    relative, cosine = _sizes(expected, got)
    problem = _problem(relative, cosine, expected.dtype, gates)
    return OpDiff(op, output, layer, turn, relative, cosine, problem)


def _sizes(expected: Array, got: Array) -> tuple[float, float]:
    if expected.shape != got.shape:
        return math.inf, 0.0
    finite = np.isfinite(expected)
    x, y = (array[finite].astype(np.float64) for array in (expected, got))
    if not np.isfinite(y).all():
        return math.inf, 0.0
    size, other, off = (float(np.linalg.norm(array)) for array in (x, y, y - x))
    if off == 0:
        return 0.0, 1.0
    cosine = float(x @ y) / (size * other) if size and other else 0.0
    return off / size if size else math.inf, cosine


def _problem(relative: float, cosine: float, dtype: Any, gates: Gates) -> str | None:
    if math.isinf(relative):
        return "another shape, a NaN, or nonzero values where the reference has only zeros"
    if not np.issubdtype(dtype, np.floating):
        return f"values differ, relative L2 {relative:.1e}" if relative else None
    if gates.relative_l2 is not None and relative > gates.relative_l2:
        return f"relative L2 {relative:.1e} is above {gates.relative_l2:.0e}"
    if gates.cosine is not None and cosine < gates.cosine:
        return f"cosine {cosine:.6f} is below {gates.cosine}"
    return None


def layer_of(name: str, layers: Iterable[str]) -> str | None:
    """The layer that a stored tensor of this name belongs to: ``<layer>`` or ``<layer>/scale``."""
    return next((x for x in layers if name == x or name.startswith(f"{x}/")), None)
