"""Which answers obey the rules of the task that a model was made for."""

from __future__ import annotations

from typing import Any

import numpy as np

from trm_export.tasks import find_task
from trm_runtime.contract import StepContract
from trm_runtime.parity.outcomes import Valid

Array = np.ndarray[Any, Any]


def valid_answers(contract: StepContract) -> Valid | None:
    """Tells of puzzles and answers (n, S) which are valid.

    None where the task is not known, or has other rules for every puzzle.
    """
    task = find_task(contract)
    if task is None or task.num_puzzle_identifiers is not None:
        return None

    def valid(inputs: Array, answers: Array) -> Array:
        found: Array = task.check(inputs, answers, answers).valid
        return found

    return valid
