"""One step of any number of rows, for runners of a fixed and of a dynamic batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trm_runtime.checks import check_step_output
from trm_runtime.runner import StepOutput, StepRunner

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]


def stepped(runner: StepRunner, inputs: Arrays, carry: Arrays) -> StepOutput:
    """In slices if the batch is fixed; the last slice is filled by repeating its rows.

    Raises ContractMismatchError if the step returns other tensors than its contract.
    """
    count = len(inputs["inputs"])
    fixed = runner.contract.batch or count
    slices = [range(start, min(start + fixed, count)) for start in range(0, count, fixed)]
    outputs = [_one_slice(runner, inputs, carry, np.resize(rows, fixed)) for rows in slices]
    return StepOutput(
        _joined([output.carry for output in outputs], count),
        _joined([output.outputs for output in outputs], count),
    )


def _one_slice(runner: StepRunner, inputs: Arrays, carry: Arrays, rows: Array) -> StepOutput:
    output = runner.step(_taken(inputs, rows), _taken(carry, rows))
    check_step_output(runner.contract, output.carry, output.outputs, len(rows))
    return output


def _taken(arrays: Arrays, rows: Array) -> dict[str, Array]:
    return {name: array[rows] for name, array in arrays.items()}


def _joined(parts: list[dict[str, Array]], count: int) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
