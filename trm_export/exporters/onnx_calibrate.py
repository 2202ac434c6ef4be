"""Ranges of the activations in an ONNX step, measured with onnxruntime on real rollouts.

One range per weight, over all passes and steps, so that the same ranges hold for the unrolled
step, a loop body and a single pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
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
)
from trm_export.exporters.format import Job
from trm_export.exporters.onnx_observe import ActivationProbe, observed
from trm_runtime.parity.gates import gates_for


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
    return _clipped(observed(job, probe).ranges, probe, samples.held_out_steps)


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
