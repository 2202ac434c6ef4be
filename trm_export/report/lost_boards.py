"""Boards of lost puzzles (right in the model, wrong in the file), step by step on both sides."""

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
    """One cell: its text and its style."""

    text: str
    given: bool
    wrong: bool
    colour: str | None = None  # of its background, `#rrggbb`
    wall: bool = False


@dataclass(frozen=True)
class Board:
    """The answer of one side after a step."""

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class LostPuzzle:
    """One puzzle: the boards of the model and of the file."""

    title: str
    side: int  # cells in a line
    box: int  # cells along a framed box; 0 without boxes
    sides: tuple[tuple[str, tuple[Board, ...]], ...]


def stories(document: Mapping[str, Any], file: Mapping[str, Any]) -> list[LostPuzzle]:
    """The first puzzles that the file loses."""
    recorded = file["result"]["stories"]
    if not recorded:
        return []
    inputs, labels = np.array(recorded["inputs"]), np.array(recorded["labels"])
    task = task_of(document["reference"]["task"], inputs.shape[1])
    sides = {name: np.array(recorded[name]) for name in ("reference", "candidate")}
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
        for i, row in enumerate(recorded["rows"][:MOST_PUZZLES])
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
    """Boards of the first step, some with a changed answer, and the last; answers (T, S)."""
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
    """The answer unchanged, even where it contradicts the puzzle."""
    return task.draw(np.clip(answer, 0, task.vocab_size - 1))


def text_board(story: LostPuzzle, boards: Sequence[Board]) -> str:
    """Boards side by side as text; a `!` follows a wrong cell."""
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
