"""Which answers obey the rules of the task that a model was made for."""

from __future__ import annotations

from typing import Any

import numpy as np

from trm_export.tasks import check_answers, find_task
from trm_runtime.contract import StepContract
from trm_runtime.parity.outcomes import Valid

Array = np.ndarray[Any, Any]


def valid_answers(contract: StepContract) -> Valid | None:
    """Tells of puzzles and answers (n, S) which are valid; None for a task that is not known."""
    if find_task(contract) is None:
        return None

    def valid(inputs: Array, answers: Array) -> Array:
        found: Array = check_answers(inputs, answers, answers).valid
        return found

    return valid
