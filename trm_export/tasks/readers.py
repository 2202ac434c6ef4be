"""Read puzzle files of any supported kind into token arrays.

Every row is checked, so that the result can be fed to a model; up to five bad rows are listed in
one error. Whether a puzzle has one solution is not checked (`count_solutions`).
"""

from __future__ import annotations

from pathlib import Path

from trm_export.tasks.read_arrays import read_folder, read_npz
from trm_export.tasks.read_text import read_text
from trm_export.tasks.sudoku import SUDOKUS
from trm_export.tasks.task import PuzzleSet, Task
from trm_runtime.errors import RejectedInputError, UsageError

__all__ = ["read_puzzles"]


def read_puzzles(
    path: str | Path,
    task: Task | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
) -> PuzzleSet:
    """Puzzles of a file or folder.

    path: CSV with a header (`quizzes,solutions`, `puzzle,solution`, `question,answer`; other
    columns are ignored); text with one board a line in the characters of the task, optionally
    followed by a comma, a tab or (Sudoku) spaces and the solution, `#` for comments (except in
    mazes, where it is a wall); an .npz with `inputs` and perhaps `labels`; or a folder of an
    official data set.
    task: the task of the puzzles; without one, Sudoku of their size. split: which
    folder of an official data set. limit: only the first so many puzzles.

    Returns a PuzzleSet whose labels are None where the file has no solutions. Raises
    RejectedInputError with file and line of every problem.
    """
    path = Path(path)
    tasks: tuple[Task, ...] = SUDOKUS if task is None else (task,)
    if limit is not None and limit < 1:
        raise UsageError(f"The limit of puzzles must be 1 or more, got {limit}.")
    if split is not None and not split.isidentifier():
        raise UsageError(f"The split must be the name of a folder, such as test, got {split!r}.")
    if not path.exists():
        raise RejectedInputError(f"{path} does not exist; give a file or folder of puzzles.")
    if path.is_dir():
        found_task, inputs, labels = read_folder(path, split, tasks, limit)
    elif path.suffix == ".npz":
        found_task, inputs, labels = read_npz(path, tasks, limit)
    else:
        found_task, inputs, labels = read_text(path, tasks, limit)
    padded = 0 in found_task.solved.ids
    return PuzzleSet(inputs, labels, found_task.fills(inputs), padded=padded)
