"""Ranges of the activations in an ONNX step, measured with onnxruntime on real rollouts.

One range per weight, over all passes and steps, so that the same ranges hold for the unrolled
step, a loop body and a single pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from trm_export.errors import ParityError
from trm_export.exporters.calibration import (
    Calibration,
    Samples,
    StepSample,
    TensorRange,
    rows_per_step,
    samples_for,
    some_steps,
    tensor_range,
)
from trm_export.exporters.format import Job
from trm_export.exporters.onnx_convert import body_names, converted
from trm_export.exporters.onnx_products import matrices, multiplications
from trm_export.step.signature import contract_for
from trm_runtime.parity.gates import gates_for

Array = np.ndarray[Any, Any]


def calibrate(job: Job) -> Calibration:
    """The grid of every activation, and the share of held-out values that it clips.

    Raises ParityError where that is more than the gate allows at any step. The activations of
    layers that stay in float are left out.
    """
    if job.recipe is not None:
        return Calibration.from_json(job.recipe)
    samples = samples_for(job)
    ranges = job.shared.once(("onnx", "ranges"), lambda: _ranges(job, samples))
    tensors = tuple(grid for grid in ranges if grid.tensor not in job.keep)
    _refuse_clipping(tensors, samples.steps)
    used = some_steps(job, samples.calibration)
    return Calibration(
        engine=f"onnxruntime {onnxruntime.__version__}",
        puzzles=samples.puzzles,
        held_out=samples.held_out,
        samples_per_step=tuple(rows_per_step(used)),
        stopped_per_step=tuple(sample.stopped for sample in used),
        tensors=tensors,
        steps=tuple(samples.steps),
    )


def _ranges(job: Job, samples: Samples) -> tuple[TensorRange, ...]:
    """The range of every weight's activation; the same for every file of a model."""
    probe = ActivationProbe(job)
    found = probe.ranges(some_steps(job, samples.calibration))
    return _clipped(found, probe, samples.held_out_steps)


class ActivationProbe:
    """The float32 step with every activation that enters a weight among its outputs.

    Attributes:
        matrices: the weights ``(K, N)`` float32 by their names.
    """

    def __init__(self, job: Job) -> None:
        proto = converted(job, contract_for(job.model), rolled=False)
        body = body_names(job.model)
        self.matrices = {name: one.values for name, one in matrices(proto.graph, body).items()}
        self._inputs: dict[str, list[str]] = {}  # weight -> the tensors it is multiplied by
        for node in multiplications(proto.graph, body):
            self._inputs.setdefault(node.input[1], []).append(node.input[0])
        names = dict.fromkeys(name for inputs in self._inputs.values() for name in inputs)
        for name in names:
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            proto.graph.output.append(value)
        self._names = list(names)
        self._session = onnxruntime.InferenceSession(
            proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def activations(self, sample: StepSample) -> Iterator[tuple[str, Array]]:
        """Each weight with each tensor that it is multiplied by, float32."""
        values = self._session.run(self._names, {**sample.inputs, **sample.carry})
        arrays = dict(zip(self._names, values, strict=True))
        for weight, names in self._inputs.items():
            yield from ((weight, arrays[name]) for name in names)

    def ranges(self, samples: Sequence[StepSample]) -> dict[str, TensorRange]:
        """The range of every weight's activation in the samples."""
        rows: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in self._inputs}
        for sample in samples:
            for weight, x in self.activations(sample):
                squares = float(np.square(x, dtype=np.float64).sum())
                rows[weight].append((float(x.min()), float(x.max()), squares, x.size))
        return {weight: _range(weight, of_weight) for weight, of_weight in rows.items()}


def _range(weight: str, rows: Sequence[tuple[float, float, float, int]]) -> TensorRange:
    lows, highs, squares, sizes = zip(*rows, strict=True)
    return tensor_range(weight, min(lows), max(highs), math.sqrt(sum(squares) / sum(sizes)))


def _clipped(
    ranges: Mapping[str, TensorRange], probe: ActivationProbe, samples: Sequence[StepSample]
) -> tuple[TensorRange, ...]:
    """The ranges with the share of values beyond them at every step."""
    beyond = np.zeros((len(ranges), len(samples)))
    total = np.zeros_like(beyond)
    row = {name: i for i, name in enumerate(ranges)}
    for column, sample in enumerate(samples):
        for weight, x in probe.activations(sample):
            grid = ranges[weight]
            low, high = ((q - grid.zero_point) * grid.scale for q in (-0.5, 255.5))
            beyond[row[weight], column] += np.count_nonzero(x < low) + np.count_nonzero(x > high)
            total[row[weight], column] += x.size
    shares = beyond / total
    return tuple(
        replace(grid, clipping=tuple(share.tolist()))
        for grid, share in zip(ranges.values(), shares, strict=True)
    )


def _refuse_clipping(tensors: Sequence[TensorRange], steps: Sequence[int]) -> None:
    limit = gates_for("int8-static").carry_clipping or 0.0
    worst = max(tensors, key=lambda grid: max(grid.clipping), default=None)
    share = 0.0 if worst is None else max(worst.clipping)
    if worst is not None and share > limit:
        raise ParityError(
            f"Calibration failed: {share:.2%} of held-out values entering {worst.tensor} at step "
            f"{steps[worst.clipping.index(share)]} are outside the calibrated range, expected at "
            f"most {limit:.1%}; calibrate on puzzles like those in use."
        )
