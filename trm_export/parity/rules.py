"""Check answers by the rules of the model's task."""

from __future__ import annotations

from typing import Any

import numpy as np

from trm_export.tasks import ArcTask, find_task
from trm_export.tasks.task import Boards
from trm_export.tasks.tokens import TokenBoards
from trm_runtime.contract import StepContract
from trm_runtime.parity.outcomes import Valid

Array = np.ndarray[Any, Any]


def valid_answers(model: StepContract | Boards) -> Valid | None:
    """A function of puzzles and answers (n, S) that returns which answers are valid, (n,) bool.

    By the rules of these boards, or of the task that fits the model. None if there are none, or
    others for every puzzle.
    """
    task = find_task(model) if isinstance(model, StepContract) else model
    if task is None or isinstance(task, TokenBoards | ArcTask):
        return None

    def valid(inputs: Array, answers: Array) -> Array:
        obeys: Array = task.check(inputs, answers, answers).valid
        return obeys

    return valid
