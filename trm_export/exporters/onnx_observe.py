"""What enters each matrix of an ONNX step in real rollouts, measured with onnxruntime.

Static int8 needs the ranges, and int4 the second moments. Where files of both are planned, one run
of the float step measures them together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnxruntime

from trm_export.exporters.calibration import (
    MARGIN,
    StepSample,
    TensorRange,
    real_samples,
    some_steps,
    tensor_range,
)
from trm_export.exporters.format import Job
from trm_export.exporters.onnx_convert import body_names, converted
from trm_export.exporters.onnx_products import matrices, multiplications
from trm_export.step.signature import contract_for
from trm_runtime.runner import initial_carry

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Activations = Iterator[tuple[str, Array]]

ROWS = 1024  # at most, of one tensor in one step, for the second moments


class ActivationProbe:
    """The float32 step with activations that enter a weight among its outputs.

    Args:
        job: the model.
        passes: of all in which a weight is multiplied by, so many evenly spread ones.

    Attributes:
        contract: of the step.
        matrices: the weights ``(K, N)`` float32 by their names.
    """

    def __init__(self, job: Job, passes: int | None = None) -> None:
        self.contract = contract_for(job.model)
        self._proto = converted(job, self.contract, rolled=False)
        body = body_names(job.model)
        self.matrices = {
            name: one.values for name, one in matrices(self._proto.graph, body).items()
        }
        self._inputs: dict[str, list[str]] = {}  # weight -> the tensors it is multiplied by
        for node in multiplications(self._proto.graph, body):
            self._inputs.setdefault(node.input[1], []).append(node.input[0])
        if passes is not None:
            self._inputs = {name: _spread(all_, passes) for name, all_ in self._inputs.items()}
        self._names = list(dict.fromkeys(one for inputs in self._inputs.values() for one in inputs))

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        for name in self._names:
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            self._proto.graph.output.append(value)
        return onnxruntime.InferenceSession(
            self._proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def activations(self, sample: StepSample) -> Activations:
        """Each weight with each tensor that it is multiplied by, float32."""
        return self._run(sample.inputs, sample.carry)[0]

    def rollout(self, inputs: Arrays, steps: int) -> Iterator[Activations]:
        """`activations` of the first steps of some puzzles, each from the carry of the last."""
        carry = initial_carry(self.contract, len(inputs["inputs"]))
        for _ in range(steps):
            found, carry = self._run(inputs, carry)
            yield found

    def _run(self, inputs: Arrays, carry: Arrays) -> tuple[Activations, Arrays]:
        """The activations of one step, and its next carry."""
        after = [spec.next for spec in self.contract.carry]
        values = self._session.run([*self._names, *after], {**inputs, **carry})
        arrays = dict(zip([*self._names, *after], values, strict=True))
        pairs = ((weight, arrays[name]) for weight, all_ in self._inputs.items() for name in all_)
        return pairs, {spec.name: arrays[spec.next] for spec in self.contract.carry}


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most so many of the names, the first and the last among them."""
    places = np.linspace(0, len(names) - 1, min(count, len(names)))
    return [names[round(place)] for place in places]


@dataclass(frozen=True)
class Observed:
    """What enters each weight, over all passes and steps."""

    ranges: Mapping[str, TensorRange]
    channels: Mapping[str, Array]  # (K,) the largest absolute value of each
    moments: Mapping[str, Array]  # see `observe`; empty where no file needs them


def observed(job: Job, probe: ActivationProbe) -> Observed:
    """What enters each weight in real rollouts of the model, measured once for all its files."""
    moments = "int4" in (job.contract.precision, *job.shared.planned)
    samples = some_steps(job, real_samples(job))
    return job.shared.once(
        ("onnx", "observed", moments),
        lambda: observe(map(probe.activations, samples), moments=moments),
    )


def observe(
    steps: Iterable[Activations],
    *,
    moments: bool = False,
    margin: float = MARGIN,
) -> Observed:
    """What enters each weight over some steps.

    Args:
        steps: the activations of each.
        moments: also sum the outer products of the rows that enter each weight, ``(K, K)`` float64.
        margin: of the ranges, see `tensor_range`.
    """
    rows: dict[str, list[tuple[float, float, float, int]]] = {}
    largest: dict[str, Array] = {}
    products: dict[str, Array] = {}
    for activations in steps:
        for weight, x in activations:
            squares = float(np.square(x, dtype=np.float64).sum())
            rows.setdefault(weight, []).append((float(x.min()), float(x.max()), squares, x.size))
            channels = np.abs(x).reshape(-1, x.shape[-1]).max(axis=0)
            largest[weight] = np.maximum(largest.get(weight, 0), channels)
            if moments:
                products[weight] = products.get(weight, 0) + _outer(x)
    return Observed(
        {weight: _range(weight, of_weight, margin) for weight, of_weight in rows.items()},
        largest,
        products,
    )


def _outer(x: Array) -> Array:
    """The sum of the outer products of the rows of an activation, of at most `ROWS` of them."""
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) > ROWS:  # a stride could be that of the positions
        rows = rows[np.linspace(0, len(rows) - 1, ROWS).astype(int)]
    return np.asarray(rows.T @ rows, np.float64)


def _range(
    weight: str, rows: Sequence[tuple[float, float, float, int]], margin: float
) -> TensorRange:
    lows, highs, squares, sizes = zip(*rows, strict=True)
    rms = math.sqrt(sum(squares) / sum(sizes))
    return tensor_range(weight, min(lows), max(highs), rms, margin)
