"""A step as several passes: runs the recursion over a graph that has one pass of the network.

Knows the contract; knows no engine.
"""

from __future__ import annotations

import dataclasses
from typing import final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.declared import check_calls
from trm_runtime.runner import Arrays, StepOutput, StepRunner

PASSES = "passes"


def step_contract(block: StepContract) -> StepContract:
    """The contract of the step that a block of granularity "block" makes."""
    carry = tuple(spec for spec in block.carry if spec.name != PASSES)
    return dataclasses.replace(block, granularity="step", passes=1, carry=carry)


@final
class BlockRunner:
    """A StepRunner over another one whose contract has granularity "block".

    Its contract is that of the step: granularity "step", and a carry without `passes`. Raises
    RejectedInputError if the contract declares more calls than `limits.CALLS`.
    """

    def __init__(self, block: StepRunner) -> None:
        check_calls(block.contract, block.contract.max_steps)
        self._block, self._passes = block, block.contract.passes
        self.contract: StepContract = step_contract(block.contract)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One ACT step, which is `passes` calls of the block; see StepRunner.step."""
        checked = check_step_call(self.contract, inputs, carry)
        none_done = np.zeros(len(checked["inputs"]), dtype=np.int32)
        output = StepOutput({**carry, PASSES: none_done}, {})
        for _ in range(self._passes):
            output = self._block.step(checked, output.carry)
        kept = {name: array for name, array in output.carry.items() if name != PASSES}
        return StepOutput(kept, output.outputs)
