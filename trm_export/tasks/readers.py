"""Read puzzle files of any supported kind into token arrays.

Every row is checked, so that the result can be fed to a model; up to five bad rows are listed in
one error. Whether a puzzle has one solution is not checked (`count_solutions`).
"""

from __future__ import annotations

from pathlib import Path

from trm_export.tasks.read_arrays import puzzle_set, read_checked
from trm_export.tasks.read_text import read_text
from trm_export.tasks.sudoku import SUDOKUS
from trm_export.tasks.task import Boards, PuzzleSet
from trm_runtime.errors import RejectedInputError, UsageError, reading
from trm_runtime.puzzle_source import is_text

__all__ = ["read_puzzles"]


def read_puzzles(
    path: str | Path,
    task: Boards | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
) -> PuzzleSet:
    """Puzzles of a file or folder.

    path: text in a format of `trm_runtime.puzzle_formats`, such as a table with the columns
    `puzzle` and `solution`, or a board a line; an .npz with `inputs`, perhaps `labels` and
    `puzzle_identifiers`; or a folder of an official data set.
    task: the task of the puzzles; without one, Sudoku of their size. split: which
    folder of an official data set. limit: only the first so many puzzles.

    Returns a PuzzleSet whose labels are None where the file has no solutions. Raises
    RejectedInputError with file and line of every problem.
    """
    path = Path(path)
    tasks: tuple[Boards, ...] = SUDOKUS if task is None else (task,)
    if limit is not None and limit < 1:
        raise UsageError(f"The limit of puzzles must be 1 or more, got {limit}.")
    if split is not None and not split.isidentifier():
        raise UsageError(f"The split must be the name of a folder, such as test, got {split!r}.")
    with reading(path):
        there = path.exists()
    if not there:
        raise RejectedInputError(f"{path} does not exist; give a file or folder of puzzles.")
    return (
        puzzle_set(*read_text(path, tasks, limit))
        if is_text(path)
        else read_checked(path, split, tasks, limit)
    )
