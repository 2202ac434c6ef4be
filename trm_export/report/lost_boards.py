"""The boards of puzzles that a file loses, as the two sides fill them in step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_export.report.text import clean
from trm_export.tasks import TASKS, Task
from trm_runtime.judging import right_cells

Array = np.ndarray[Any, Any]

MOST_PUZZLES = 6
_MOST_BOARDS, _FEW_BOARDS = 5, 3  # of a side; of boards larger than
_LARGE = 15
_WALL = "██"


@dataclass(frozen=True)
class Cell:
    """One cell: what stands there, and how it is to look."""

    text: str
    given: bool
    wrong: bool
    colour: str | None = None  # of its ground, `#rrggbb`
    wall: bool = False


@dataclass(frozen=True)
class Board:
    """What a side answers after a step."""

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class LostPuzzle:
    """One puzzle: what the model and the file do with it."""

    title: str
    side: int  # cells in a line
    box: int  # cells along a box that is framed; 0 without
    sides: tuple[tuple[str, tuple[Board, ...]], ...]


def stories(document: Mapping[str, Any], file: Mapping[str, Any]) -> list[LostPuzzle]:
    """Of the first puzzles lost."""
    told = file["result"]["stories"]
    if not told:
        return []
    inputs, labels = np.array(told["inputs"]), np.array(told["labels"])
    task = task_of(document["reference"]["task"], inputs.shape[1])
    sides = {name: np.array(told[name]) for name in ("reference", "candidate")}
    names = {"reference": "the model", "candidate": "this file"}
    return [
        LostPuzzle(
            f"puzzle {row}",
            width(inputs.shape[1]),
            _box(task),
            tuple(
                (names[side], tuple(_boards(task, inputs[i], labels[i], cells[:, i])))
                for side, cells in sides.items()
            ),
        )
        for i, row in enumerate(told["rows"][:MOST_PUZZLES])
    ]


def task_of(name: str | None, cells: int) -> Task | None:
    """The task by its name, else the only one whose boards have so many cells."""
    if name in TASKS:
        task = TASKS[str(name)]
        return task if task.seq_len == cells else None
    fitting = [task for task in TASKS.values() if task.seq_len == cells]
    return fitting[0] if len(fitting) == 1 else None


def width(cells: int) -> int:
    """Cells in a line; boards are square, or shown as if they were."""
    return math.ceil(math.sqrt(cells))


def _box(task: Task | None) -> int:
    return round(task.side**0.5) if task is not None and task.name.startswith("sudoku") else 0


def _boards(task: Task | None, inputs: Array, labels: Array, answers: Array) -> list[Board]:
    """Of the first step, some at which the answer changes, and the last; answers (T, S)."""
    halted = int(np.flatnonzero(answers.any(axis=1)).max(initial=0))
    changed = [t for t in range(1, halted) if (answers[t] != answers[t - 1]).any()]
    most = _FEW_BOARDS if width(len(inputs)) > _LARGE else _MOST_BOARDS
    steps = sorted({0, *_some(changed, most - 2), halted})
    boards = []
    for t in steps:
        wrong = ~right_cells(answers[t], labels)
        count = int(wrong.sum())
        state = f"{count} wrong" if count else "solved"
        boards.append(
            Board(f"step {t + 1}: {state}", tuple(_cells(task, inputs, answers[t], wrong)))
        )
    return boards


def _some(items: Sequence[int], most: int) -> list[int]:
    """At most so many of them, spread evenly."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(most - 1, 1))] for i in range(most)]


def _cells(task: Task | None, inputs: Array, answer: Array, wrong: Array) -> list[Cell]:
    if task is None:
        return [Cell(str(t), False, bool(w)) for t, w in zip(answer, wrong, strict=True)]
    drawn = {piece.cell: piece for piece in _drawn(task, answer) if piece.cell is not None}
    given = ~task.blank_cells(inputs[None])[0]
    cells = []
    for i in range(len(answer)):
        piece = drawn.get(i)
        text = piece.text.strip() if piece is not None else ""
        colour = None if piece is None else piece.colour
        shown = "" if text == _WALL or colour else clean(text)
        cells.append(Cell(shown, bool(given[i]), bool(wrong[i]), colour, text == _WALL))
    return cells


def _drawn(task: Task, answer: Array) -> Sequence[Any]:
    """The answer as it is, where it contradicts the puzzle, too."""
    return task.draw(np.clip(answer, 0, task.vocab_size - 1))


def text_board(story: LostPuzzle, boards: Sequence[Board]) -> str:
    """Boards side by side as text; a `!` follows what is wrong."""
    size = max((len(c.text) for b in boards for c in b.cells), default=1) or 1
    lines = ["   ".join(_padded(board.title, story.side * (size + 2)) for board in boards)]
    for start in range(0, len(boards[0].cells), story.side):
        rows = (board.cells[start : start + story.side] for board in boards)
        lines.append("   ".join("".join(_text(c, size) for c in row) for row in rows))
    return "\n".join(line.rstrip() for line in lines)


def _padded(text: str, size: int) -> str:
    return text[:size].ljust(size)


def _text(cell: Cell, size: int) -> str:
    shown = "#" * size if cell.wall else (cell.text or ".").rjust(size)
    return f"{shown}{'!' if cell.wrong else ' '} "
