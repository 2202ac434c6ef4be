"""Check the puzzles of a text file by the characters of a task; `trm_runtime` reads the file."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trm_export.tasks.arc_files import is_of_arc
from trm_export.tasks.row_checks import find_bad_rows, reject
from trm_export.tasks.task import Boards, Cells
from trm_runtime.board_text import INTEGER, BoardSigns
from trm_runtime.errors import RejectedInputError
from trm_runtime.puzzle_formats import BoardText, read_boards
from trm_runtime.puzzle_source import numbered_lines

__all__ = ["read_text"]


def read_text(
    path: Path, tasks: Sequence[Boards], limit: int | None
) -> tuple[Boards, npt.NDArray[np.int32], npt.NDArray[np.int32] | None]:
    """(task, inputs, labels or None) of a text file, both (N, S) int32 tokens.

    tasks: with the same characters; the first row whose length fits one selects it. limit: read so
    many rows. Bad rows are refused.
    """
    sizes = [task.seq_len for task in tasks]
    signs = BoardSigns(tasks[-1].alphabet, sizes, any(map(is_of_arc, tasks)))
    size, boards = read_boards(numbered_lines(str(path), path.name), signs, path.name)
    rows = list(itertools.islice(boards, limit))
    if not rows:
        raise RejectedInputError(f"{path.name}: has no puzzle, expected one a line.")
    task = next(task for task in tasks if task.seq_len == size)
    solved = bool(rows[0].solution)
    bad = {i: reason for i, row in enumerate(rows) if (reason := _shape(row, task, solved))}
    good = [(i, row) for i, row in enumerate(rows) if i not in bad]
    inputs = _tokens([row.puzzle for _, row in good], task)
    solutions = [row.solution or "" for _, row in good]
    labels = _tokens(solutions, task) if solved else None
    count, broken = find_bad_rows(task, inputs, labels)
    if bad or broken:
        reasons = sorted([*bad.items(), *((good[k][0], reason) for k, reason in broken)])
        named = [f"{path.name} {rows[i].place}: {reason}" for i, reason in reasons]
        raise reject(path.name, len(rows), len(bad) + count, named)
    return task, inputs, labels


def _shape(row: BoardText, task: Boards, solved: bool) -> str | None:
    """What is wrong with the characters of a row, if anything."""
    if row.problem:
        return row.problem
    if solved and not row.solution:
        return "expected a solution, as in the first row"
    if row.solution and not solved:
        return "expected no solution, as in the first row"
    for kind, text, cells in (
        ("", row.puzzle, task.given),
        (" in the solution", row.solution, task.solved),
    ):
        reason = _cells_problem(text, task, cells, kind) if text else None
        if reason is not None:
            return reason
    return None if row.puzzle else "expected a puzzle, got nothing"


def _cells_problem(text: str, task: Boards, cells: Cells, kind: str) -> str | None:
    if task.alphabet is None:
        words = text.split()
        count = len(words) if all(map(INTEGER.fullmatch, words)) else 0
        wanted = f"{task.seq_len} token ids with spaces or commas between"
        return None if count == task.seq_len else f"expected {wanted}{kind}, got {count}"
    if len(text) != task.seq_len:
        signs = BoardSigns(task.alphabet, (task.seq_len,))
        problem = signs.wrong_length(text, task.seq_len)
        return problem.replace(" characters,", f" characters{kind},")
    position = _first_unknown(text, task.alphabet, cells)
    if position is None:
        return None
    return f"expected {cells.signs} at position {position + 1}{kind}, got {text[position]!r}"


def _first_unknown(text: str, alphabet: tuple[str, ...], cells: Cells) -> int | None:
    """The index of the first character that belongs to none of the tokens."""
    allowed = "".join(alphabet[token] for token in cells.ids)
    if not text.strip(allowed):
        return None
    return next((i for i, sign in enumerate(text) if sign not in allowed), None)


def _tokens(texts: list[str], task: Boards) -> npt.NDArray[np.int32]:
    """Checked texts of one length -> (N, S) int32 tokens."""
    if task.alphabet is None:
        words = [list(map(int, text.split())) for text in texts]
        return np.array(words, np.int32).reshape(len(texts), task.seq_len)
    table = np.zeros(max(map(ord, "".join(task.alphabet))) + 1, np.int32)
    for token, signs in enumerate(task.alphabet):
        table[[ord(sign) for sign in signs]] = token
    characters = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    return table[characters].reshape(len(texts), task.seq_len)
