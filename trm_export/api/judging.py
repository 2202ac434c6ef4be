"""How answers are judged: by solutions, or by the rules of a task, which need none."""

from __future__ import annotations

from typing import Any

import numpy as np

from trm_export.errors import UsageError, refuse_unknown
from trm_export.parity import valid_answers
from trm_export.tasks import PuzzleSet
from trm_export.tasks.arc_files import unsolved
from trm_export.tasks.selection import PuzzleSource, puzzle_file
from trm_export.tasks.task import Boards
from trm_runtime.parity.outcomes import Valid

Array = np.ndarray[Any, Any]
JUDGES = ("exact", "valid")


def refuse_judge(judge: str) -> None:
    """UsageError for an unknown judge."""
    refuse_unknown("judge", judge, JUDGES)


def rules_of(boards: Boards, judge: str) -> Valid | None:
    """The rules of the boards, if they show whether an answer is right.

    Raises UsageError if the judge needs them and there are none.
    """
    valid = valid_answers(boards)
    if valid is None and judge == "valid":
        raise UsageError(
            f"--judge valid needs a task whose rules show whether an answer is right, such as "
            f"sudoku9; {boards.name} has no such rules. Drop --judge."
        )
    return valid


def with_solutions(
    found: PuzzleSet, given: PuzzleSource | None, judge: str, boards: Boards
) -> PuzzleSet:
    """The puzzles; UsageError if the judge needs solutions, and they have none."""
    if found.labels is not None or judge == "valid":
        return found
    if given is None:
        raise UsageError(
            "No shipped puzzles fit this model; give puzzles with solutions by --puzzles FILE."
        )
    file = puzzle_file(given)
    lacking = None if file is None else unsolved(file, boards, len(found))
    if lacking:
        raise UsageError(
            f"{file} has no solution of {lacking} to compare answers with; give each test pair its "
            "output, or put the solutions beside the challenges as a file *_solutions.json."
        )
    rules = ", or judge by the rules with --judge valid" * (valid_answers(boards) is not None)
    raise UsageError(
        f"{file or 'The array of puzzles'} has no solutions to compare answers with; give puzzles "
        f"with their solutions{rules}."
    )
