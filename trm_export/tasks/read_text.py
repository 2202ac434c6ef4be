"""Read text as tokens: one puzzle a line, or CSV with a header.

The characters are those of the task's alphabet. If a space is one of them, spaces are not
separators and are not stripped; if `#` is one, no line is a comment.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from trm_export.tasks.row_checks import find_bad_rows, reject
from trm_export.tasks.task import Cells, Task
from trm_runtime.errors import RejectedInputError, unreadable
from trm_runtime.regular_file import open_regular

__all__ = ["read_text"]

_PUZZLE_COLUMNS = ("quizzes", "quiz", "puzzle", "puzzles", "question")
_SOLUTION_COLUMNS = ("solutions", "solution", "answer")
_LONGEST = 100_000  # characters in one line; a longer one is not a puzzle


@dataclass(frozen=True)
class _Row:
    line: int
    puzzle: str
    solution: str | None


def read_text(
    path: Path, tasks: Sequence[Task], limit: int | None
) -> tuple[Task, npt.NDArray[np.int32], npt.NDArray[np.int32] | None]:
    """(task, inputs, labels or None) of a text file, both (N, S) int32 tokens.

    tasks: with the same characters; the first row whose length fits one selects it. limit: read so
    many rows. Bad rows are refused.
    """
    signs = "".join(tasks[-1].alphabet)
    rows = list(itertools.islice(_read_rows(path, signs), limit))
    if not rows:
        raise RejectedInputError(f"{path.name}: has no puzzle, expected one a line.")
    sizes = {task.seq_len: task for task in tasks}
    task = next((sizes[len(r.puzzle)] for r in rows if len(r.puzzle) in sizes), tasks[-1])
    solved = rows[0].solution is not None
    bad = {i: reason for i, row in enumerate(rows) if (reason := _shape(row, task, solved))}
    good = [(i, row) for i, row in enumerate(rows) if i not in bad]
    inputs = _tokens([row.puzzle for _, row in good], task)
    solutions = [row.solution or "" for _, row in good]
    labels = _tokens(solutions, task) if solved else None
    count, broken = find_bad_rows(task, inputs, labels)
    if bad or broken:
        reasons = sorted([*bad.items(), *((good[k][0], reason) for k, reason in broken)])
        named = [f"{path.name} line {rows[i].line}: {reason}" for i, reason in reasons]
        raise reject(path.name, len(rows), len(bad) + count, named)
    return task, inputs, labels


def _read_rows(path: Path, signs: str) -> Iterator[_Row]:
    """Rows of a text file with their line numbers, comments and empty lines left out.

    signs: all characters of the alphabet.
    """
    spaced, comments = " " in signs, "#" not in signs
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline=None) as file:
            numbered = enumerate(_lines(path, file), 1)
            lines = ((n, text.strip("\n" if spaced else None)) for n, text in numbered)
            wanted = (
                (n, text)
                for n, text in lines
                if text.strip() and not (comments and text.startswith("#"))
            )
            first = next(wanted, None)
            if first is None:
                return
            header = [name.strip().lower() for name in next(csv.reader([first[1]]))]
            if set(header) & {*_PUZZLE_COLUMNS, *_SOLUTION_COLUMNS}:
                yield from _table(path, header, wanted, spaced)
            else:
                rows = itertools.chain([first], wanted)
                yield from (_split(n, text, spaced) for n, text in rows)
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{path.name}: not a text file: {error.reason}.") from error
    except csv.Error as error:
        raise RejectedInputError(f"{path.name}: not a CSV file: {error}.") from error


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file, each read only as far as a puzzle may be long."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST + 1)
        if not line:
            return
        if len(line) > _LONGEST:
            raise RejectedInputError(
                f"{path.name} line {number}: more than {_LONGEST} characters, "
                "expected one puzzle a line."
            )
        yield line


def _table(
    path: Path, header: list[str], lines: Iterator[tuple[int, str]], spaced: bool
) -> Iterator[_Row]:
    """Rows below a CSV header; columns are found by name."""
    puzzle = next((i for i, name in enumerate(header) if name in _PUZZLE_COLUMNS), None)
    solution = next((i for i, name in enumerate(header) if name in _SOLUTION_COLUMNS), None)
    if puzzle is None:
        raise RejectedInputError(
            f"{path.name}: expected a column {', '.join(_PUZZLE_COLUMNS[:-1])} or "
            f"{_PUZZLE_COLUMNS[-1]}, got {', '.join(header)}."
        )
    for number, line in lines:
        cells = [cell if spaced else cell.strip() for cell in next(csv.reader([line]))]
        cells += [""] * (len(header) - len(cells))
        yield _Row(number, cells[puzzle], None if solution is None else cells[solution])


def _split(number: int, line: str, spaced: bool) -> _Row:
    """A line `puzzle`, or `puzzle solution` with a comma, semicolon, tab or spaces between.

    Spaces separate only if they are not in the alphabet.
    """
    if spaced:
        puzzle, _, solution = line.replace(",", "\t").replace(";", "\t").partition("\t")
        return _Row(number, puzzle, solution or None)
    parts = line.replace(",", " ").replace(";", " ").split(maxsplit=1)
    return _Row(number, parts[0] if parts else line, parts[1].strip() if len(parts) > 1 else None)


def _shape(row: _Row, task: Task, solved: bool) -> str | None:
    """What is wrong with the characters of a row, if anything."""
    if solved and not row.solution:
        return "expected a solution, as in the first row"
    if row.solution is not None and not solved:
        return "expected no solution, as in the first row"
    for kind, text, cells in (
        ("", row.puzzle, task.given),
        (" in the solution", row.solution, task.solved),
    ):
        if text is None:
            continue
        if len(text) != task.seq_len:
            return f"expected {task.seq_len} characters{kind}, got {len(text)}"
        position = _first_unknown(text, task, cells)
        if position is not None:
            found = text[position]
            return f"expected {cells.signs} at position {position + 1}{kind}, got {found!r}"
    return None


def _first_unknown(text: str, task: Task, cells: Cells) -> int | None:
    """The index of the first character that belongs to none of the tokens."""
    allowed = "".join(task.alphabet[token] for token in cells.ids)
    if not text.strip(allowed):
        return None
    return next(i for i, sign in enumerate(text) if sign not in allowed)


def _tokens(texts: list[str], task: Task) -> npt.NDArray[np.int32]:
    """Checked texts of one length -> (N, S) int32 tokens."""
    table = np.zeros(128, np.int32)
    for token, signs in enumerate(task.alphabet):
        table[[ord(sign) for sign in signs]] = token
    characters = np.frombuffer("".join(texts).encode("ascii"), np.uint8)
    return table[characters].reshape(len(texts), task.seq_len)
