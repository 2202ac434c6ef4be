"""Int8 I/O: the int8 scale and zero point of each state and score at a graph's inputs and outputs.

The ranges are those of the reference on the rollouts that static int8 is calibrated on, of every
pass where a call is one. A state has the same grid as input and as output, so that the carry of
one call enters the next unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from trm_export.exporters.calibration import MARGIN, Arrays, StepSample, samples_for
from trm_export.exporters.format import Job
from trm_export.step.keras_runner import KerasRunner
from trm_runtime.contract import CarrySpec, StepContract, TensorSpec
from trm_runtime.integer import quantised

Range = tuple[float, float]

LEVELS = 255


def integer_contract(job: Job) -> StepContract:
    """The contract of the job with int8 instead of float32."""
    ranges = _ranges(job)
    return dataclasses.replace(
        job.contract,
        carry=tuple(_int8_carry(spec, ranges) for spec in job.contract.carry),
        outputs=tuple(_int8_output(spec, ranges) for spec in job.contract.outputs),
    )


def _int8_carry(spec: CarrySpec, ranges: dict[str, Range]) -> CarrySpec:
    if spec.dtype != "float32":
        return spec
    scale, zero = _grid(ranges[spec.name])
    int8 = CarrySpec(spec.name, spec.next, "int8", spec.shape, 0, scale, zero)
    return dataclasses.replace(int8, fill=int(quantised(int8, np.array(spec.fill, np.float32))))


def _int8_output(spec: TensorSpec, ranges: dict[str, Range]) -> TensorSpec:
    if spec.dtype != "float32":
        return spec
    return TensorSpec(spec.name, "int8", spec.shape, *_grid(ranges[spec.name]))


def _grid(limits: Range) -> tuple[float, int]:
    """Scale and zero point of an int8 grid that covers the range and contains 0."""
    low, high = min(limits[0] * MARGIN, 0.0), max(limits[1] * MARGIN, 0.0)
    scale = float(np.float32((high - low) / LEVELS or 1.0))
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def _ranges(job: Job) -> dict[str, Range]:
    """The observed range of each float state and output of the reference."""
    ranges: dict[str, Range] = {}
    samples = samples_for(job)
    for sample in (*samples.calibration, *samples.scrambled):
        for arrays in _leaving(job, sample):
            for name, array in arrays.items():
                if array.dtype == np.float32:
                    low, high = ranges.get(name, (0.0, 0.0))
                    ranges[name] = min(low, float(array.min())), max(high, float(array.max()))
    return ranges


def _leaving(job: Job, sample: StepSample) -> Iterator[Arrays]:
    """Every state and output of the calls of one step; inputs are outputs of earlier calls."""
    granularity = job.contract.granularity
    runner = job.shared.once(
        ("runner", granularity), lambda: KerasRunner(job.model, granularity=granularity)
    )
    carry = dict(sample.carry)
    if granularity == "block":
        carry["passes"] = np.zeros(len(sample.inputs["inputs"]), np.int32)
    for _ in range(runner.contract.passes):
        output = runner.step(sample.inputs, carry)
        yield output.tensors
        carry = output.carry
