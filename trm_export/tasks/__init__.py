"""Task data: puzzles with exactly one solution, their splits, augmentation, checks and readers.

Needs only numpy; no Keras, no TensorFlow. Start with `get_task("sudoku9")`. `check_answers`,
`render`, `solve` and `count_solutions` are for Sudoku only; every task has its own `check` and
`render`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trm_export.errors import refuse_unknown
from trm_export.tasks.arc import ARCS, ArcTask
from trm_export.tasks.maze import MAZES, MazeTask
from trm_export.tasks.readers import read_puzzles
from trm_export.tasks.solver import count_solutions, solve
from trm_export.tasks.sudoku import SUDOKUS, SudokuTask
from trm_export.tasks.sudoku_boards import check_answers, render
from trm_export.tasks.task import RANDOM_ROWS, Blanks, Checks, PuzzleSet, Task, random_rows
from trm_runtime.contract import Symmetries

__all__ = [
    "RANDOM_ROWS",
    "TASKS",
    "ArcTask",
    "Blanks",
    "Checks",
    "MazeTask",
    "PuzzleSet",
    "SudokuTask",
    "Task",
    "TaskDescription",
    "check_answers",
    "count_solutions",
    "find_task",
    "get_task",
    "known_symmetries",
    "random_rows",
    "read_puzzles",
    "render",
    "solve",
]


_ALL: tuple[Task, ...] = (*SUDOKUS, *MAZES, *ARCS)
TASKS = {task.name: task for task in _ALL}


class TaskDescription(Protocol):
    """What identifies the task of a model: its `TRMConfig`, or the contract of its export."""

    @property
    def alphabet(self) -> tuple[str, ...] | None:
        """For each token id its characters, if known."""
        ...

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        ...

    @property
    def seq_len(self) -> int:
        """Cells of a puzzle."""
        ...


def find_task(model: TaskDescription) -> Task | None:
    """The task whose boards have the model's length and alphabet (else its vocabulary), if any.

    The first of several that match. A task whose puzzles are not installed is skipped.
    """
    known = model.alphabet is not None
    for task in TASKS.values():
        same = model.alphabet == task.alphabet if known else model.vocab_size == task.vocab_size
        if same and model.seq_len == task.seq_len and task.available:
            return task
    return None


def known_symmetries(alphabet: Sequence[str] | None, seq_len: int) -> Symmetries | None:
    """Those of the task with that alphabet and length; None without such a task."""
    fitting = (t for t in TASKS.values() if (t.alphabet, t.seq_len) == (alphabet, seq_len))
    return next((task.symmetries for task in fitting), None)


def get_task(name: str) -> Task:
    """The task of that name, such as "sudoku9"; UsageError lists the names otherwise."""
    refuse_unknown("task", name, TASKS)
    return TASKS[name]
