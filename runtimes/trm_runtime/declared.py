"""What a contract declares, compared with the limits before it is allocated or called.

Standard library only.
"""

from __future__ import annotations

import math

from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError
from trm_runtime.limits import CALLS, MEMORY_MB
from trm_runtime.tensors import AnySpec

_BYTES = {"float32": 4, "int32": 4, "bool": 1, "int8": 1}


def check_rows(contract: StepContract, rows: int) -> None:
    """Raise RejectedInputError if the carry and the outputs of so many rows are too large."""
    specs: tuple[AnySpec, ...] = (*contract.inputs, *contract.carry, *contract.outputs)
    row = sum(math.prod(n or 1 for n in spec.shape[1:]) * _BYTES[spec.dtype] for spec in specs)
    if rows * row > MEMORY_MB.bytes:
        smaller = "use a smaller batch, or " if contract.batch is None and rows > 1 else ""
        raise RejectedInputError(
            f"The model declares {rows * row >> 20:,} MB of arrays for a batch of {rows:,}, more "
            f"than {MEMORY_MB.value:,}; {smaller}{MEMORY_MB.remedy}."
        )


def check_calls(contract: StepContract, steps: int) -> None:
    """Raise RejectedInputError if so many steps take too many calls of the graph."""
    calls = steps * contract.passes
    if calls > CALLS.value:
        raise RejectedInputError(
            f"The model declares {calls:,} calls of its graph for a puzzle, more than "
            f"{CALLS.value:,}; give a smaller max_steps, or {CALLS.remedy}."
        )
