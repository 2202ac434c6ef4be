"""The contracts of the other granularities, derived from that of the step.

`trm_runtime.contract` describes loop and block. `trm_runtime.block` makes steps of a block.
"""

from __future__ import annotations

import dataclasses

from trm_runtime.block import PASSES
from trm_runtime.contract import CarrySpec, StepContract, TensorSpec


def as_loop(step: StepContract) -> StepContract:
    """The contract of the complete ACT loop around such a step."""
    results = (
        TensorSpec("answers", "int32", (step.batch, step.seq_len)),
        TensorSpec("steps", "int32", (step.batch,)),
    )
    return dataclasses.replace(
        step, granularity="loop", carry=(), outputs=(*results, *step.outputs)
    )  # fmt: skip


def as_block(step: StepContract, passes: int) -> StepContract:
    """The contract of one of the ``passes`` that make up such a step."""
    counter = CarrySpec(PASSES, f"{PASSES}_next", "int32", (step.batch,), 0)
    carry = (*step.carry, counter)
    return dataclasses.replace(step, granularity="block", passes=passes, carry=carry)
