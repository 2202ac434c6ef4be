"""The answers to ARC problems as a submission: JSON with two attempts at every grid.

Knows numpy; knows no engine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime import strict_json
from trm_runtime.answers import refuse_place
from trm_runtime.arc_grids import decode
from trm_runtime.arc_json import ArcQuestion
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.limits import JSON_MB
from trm_runtime.regular_file import read_regular

Array = np.ndarray[Any, Any]

_ATTEMPTS = ("attempt_1", "attempt_2")


def submission(questions: Sequence[ArcQuestion], answers: Array) -> str:
    """The answers (N, 900) as JSON, with two equal attempts, because a model gives one answer.

    An answer without a grid becomes one black cell.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for question, tokens in zip(questions, answers):
        grid = decode(tokens)
        cells = [[0]] if grid is None else grid.tolist()
        found.setdefault(question.problem, []).append(dict.fromkeys(_ATTEMPTS, cells))
    return json.dumps(found) + "\n"


def refuse_target(path: Path) -> None:
    """Raise UsageError for a name that no file can get, and for a file that is no submission.

    An empty file may be replaced.
    """
    refuse_place(path)
    if path.exists() and path.stat().st_size and not _is_submission(_value(path)):
        raise UsageError(
            f"{path}: exists and is no submission, so it is not replaced; choose another name, or "
            "delete it first."
        )


def _value(path: Path) -> Any:
    """The JSON value of a file; None if it has none, or cannot be read."""
    try:
        return strict_json.parse(read_regular(path, JSON_MB))
    except (ValueError, OSError, RejectedInputError):
        return None


def _is_submission(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    return all(
        isinstance(grids, list) and grids and all(map(_is_answer, grids))
        for grids in value.values()
    )


def _is_answer(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != set(_ATTEMPTS):
        return False
    return all(isinstance(grid, list) for grid in value.values())
