"""The description of one tensor of a step graph, and the rules for single tensors.

Standard library only. Knows nothing about the meaning of the tensors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Optional, Union

DTYPES = ("float32", "int32", "bool", "int8")
NEXT = "_next"  # suffix of the output name of a carry tensor
INT8 = (-128, 127)

_MAX_FLOAT32 = 3.4028234663852886e38

FILLS: Mapping[str, tuple[tuple[type, ...], tuple[float, float]]] = {
    "bool": ((bool,), (False, True)),
    "int32": ((int,), (-(2**31), 2**31 - 1)),
    "int8": ((int,), INT8),
    "float32": ((int, float), (-_MAX_FLOAT32, _MAX_FLOAT32)),
}
"""For each dtype: the Python types of a fill, and its smallest and largest value."""

Shape = tuple[Optional[int], ...]
"""Sizes of a tensor's axes. None is a dynamic batch, on axis 0 only."""

Scalar = Union[bool, int, float]

EngineTensors = Mapping[str, tuple[str, Shape]]
"""The tensors of an engine: name -> (dtype, shape); None for a dynamic size."""


def _row(spec: AnySpec) -> Shape:
    """The sizes of one row."""
    return spec.shape[1:]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the step graph.

    An int8 tensor represents the real numbers `scale * (value - zero_point)`; other dtypes have
    neither.
    """

    name: str
    dtype: str  # one of DTYPES
    shape: Shape
    scale: float | None = None
    zero_point: int | None = None

    row = cached_property(_row)


@dataclass(frozen=True)
class CarrySpec:
    """One tensor of the state between steps: the input `name` and the output `next`.

    `scale` and `zero_point` as in a `TensorSpec`, for input and output.
    """

    name: str
    next: str  # always name + NEXT
    dtype: str  # one of DTYPES
    shape: Shape
    fill: Scalar  # of every element before the first step
    scale: float | None = None
    zero_point: int | None = None

    row = cached_property(_row)


AnySpec = Union[TensorSpec, CarrySpec]


def shape_text(shape: Sequence[int | None], free: str = "batch") -> str:
    """A shape for people: (batch, 81)."""
    sizes = [free if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def tensor_problems(
    batch: int | None,
    inputs: Sequence[TensorSpec],
    carry: Sequence[CarrySpec],
    outputs: Sequence[TensorSpec],
) -> list[str]:
    """Every broken rule of single tensors, and every name that several tensors share."""
    problems = [] if batch is None or batch >= 1 else [f"batch: expected 1 or more, got {batch}"]
    every: tuple[AnySpec, ...] = (*inputs, *carry, *outputs)
    for spec in every:
        problems += _one(spec, batch)
    names = Counter(chain((spec.name for spec in every), (spec.next for spec in carry)))
    twice = sorted(name for name, count in names.items() if count > 1)
    return problems + [f"{name!r}: more than one tensor has this name" for name in twice]


def _one(spec: AnySpec, batch: int | None) -> list[str]:
    name = spec.name
    problems = [] if name else ["a tensor has an empty name"]
    if spec.dtype not in DTYPES:
        problems.append(f"{name}: dtype {spec.dtype!r} is not one of {', '.join(DTYPES)}")
    if not isinstance(spec.shape, tuple) or not spec.shape:
        problems.append(f"{name}: expected a shape that starts with the batch, got {spec.shape!r}")
    else:
        problems += _shape(name, spec.shape, batch)
    problems += _grid(spec)
    if isinstance(spec, CarrySpec):
        problems += _carried(spec)
    return problems


def _grid(spec: AnySpec) -> list[str]:
    """Problems with the scale and the zero point."""
    name, scale, zero = spec.name, spec.scale, spec.zero_point
    if spec.dtype != "int8":
        alone = scale is None and zero is None
        return [] if alone else [f"{name}: scale and zero_point are for int8, not {spec.dtype}"]
    problems = []
    if type(scale) is not float or not 0 < scale < math.inf:
        problems.append(f"{name}: an int8 tensor needs a scale above 0, got {scale!r}")
    least, most = INT8
    if type(zero) is not int or not least <= zero <= most:
        problems.append(
            f"{name}: an int8 tensor needs a zero_point in {least}..{most}, got {zero!r}"
        )
    return problems


def _shape(name: str, shape: Shape, batch: int | None) -> list[str]:
    problems = []
    if shape[0] != batch:
        wanted = "dynamic (null)" if batch is None else str(batch)
        found = "dynamic (null)" if shape[0] is None else str(shape[0])
        problems.append(f"{name}: axis 0 is {found}, but the batch of the contract is {wanted}")
    if any(size is None or size < 1 for size in shape[1:]):
        problems.append(f"{name}: sizes after the batch must be 1 or more, got {shape_text(shape)}")
    return problems


def _carried(spec: CarrySpec) -> list[str]:
    problems = []
    if spec.next != spec.name + NEXT:
        problems.append(f"{spec.name}: next must be {spec.name + NEXT!r}, got {spec.next!r}")
    types, (least, most) = FILLS.get(spec.dtype, ((), (0, 0)))
    if types and type(spec.fill) not in types:
        problems.append(f"{spec.name}: fill {spec.fill!r} is not a {spec.dtype} value")
    elif types and not least <= spec.fill <= most:
        problems.append(f"{spec.name}: fill {spec.fill!r} is out of range")
    return problems
