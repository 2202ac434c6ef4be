"""Text to tokens: one puzzle a line, or CSV with a header. Knows boards of 16 and 81 characters."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trm_export.tasks.row_checks import find_bad_rows, reject
from trm_runtime.errors import RejectedInputError

__all__ = ["read_text"]

_PUZZLE_COLUMNS = ("quizzes", "quiz", "puzzle", "puzzles", "question")
_SOLUTION_COLUMNS = ("solutions", "solution", "answer")
_SIZES = (16, 81)
_BLANKS = ".0_"
_LONGEST = 100_000  # characters in one line; a longer one is not a puzzle


@dataclass(frozen=True)
class _Row:
    line: int
    puzzle: str
    solution: str | None


def read_text(
    path: Path, seq_len: int | None, limit: int | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32] | None]:
    """(inputs, labels or None) of a text file, both (N, S) int32 tokens; bad rows are refused.

    seq_len: the expected S, or None to take it from the first row. limit: read so many rows.
    """
    rows = list(itertools.islice(_read_rows(path), limit))
    if not rows:
        raise RejectedInputError(f"{path.name} holds no puzzle; expected one a line")
    size = seq_len or next((len(r.puzzle) for r in rows if len(r.puzzle) in _SIZES), 81)
    solved = rows[0].solution is not None
    bad = {i: reason for i, row in enumerate(rows) if (reason := _shape(row, size, solved))}
    good = [(i, row) for i, row in enumerate(rows) if i not in bad]
    inputs = _tokens([row.puzzle for _, row in good], size, blanks=True)
    solutions = [row.solution or "" for _, row in good]
    labels = _tokens(solutions, size, blanks=False) if solved else None
    count, found = find_bad_rows(inputs, labels)
    if bad or found:
        reasons = sorted([*bad.items(), *((good[k][0], reason) for k, reason in found)])
        named = [f"{path.name} line {rows[i].line}: {reason}" for i, reason in reasons]
        raise reject(path.name, len(rows), len(bad) + count, named)
    return inputs, labels


def _read_rows(path: Path) -> Iterator[_Row]:
    """Rows of a text file with their line numbers, comments and empty lines left out."""
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            lines = ((n, text.strip()) for n, text in enumerate(_capped(path, file), 1))
            wanted = ((n, text) for n, text in lines if text and not text.startswith("#"))
            first = next(wanted, None)
            if first is None:
                return
            header = [name.strip().lower() for name in next(csv.reader([first[1]]))]
            if set(header) & {*_PUZZLE_COLUMNS, *_SOLUTION_COLUMNS}:
                yield from _table(path, header, wanted)
            else:
                yield from (_split(n, text) for n, text in itertools.chain([first], wanted))
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{path.name} is not a text file: {error.reason}") from error


def _capped(path: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST:
            raise RejectedInputError(
                f"{path.name} line {number} has more than {_LONGEST} characters; "
                "expected one puzzle a line"
            )
        yield line


def _table(path: Path, header: list[str], lines: Iterator[tuple[int, str]]) -> Iterator[_Row]:
    """Rows below a CSV header; columns are found by name."""
    puzzle = next((i for i, name in enumerate(header) if name in _PUZZLE_COLUMNS), None)
    solution = next((i for i, name in enumerate(header) if name in _SOLUTION_COLUMNS), None)
    if puzzle is None:
        raise RejectedInputError(
            f"{path.name} has the columns {', '.join(header)}; "
            f"expected one of {', '.join(_PUZZLE_COLUMNS)}"
        )
    for number, line in lines:
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        cells += [""] * (len(header) - len(cells))
        yield _Row(number, cells[puzzle], None if solution is None else cells[solution])


def _split(number: int, line: str) -> _Row:
    """A line `puzzle`, or `puzzle solution` with a comma, semicolon, tab or spaces between."""
    parts = line.replace(",", " ").replace(";", " ").split(maxsplit=1)
    return _Row(number, parts[0] if parts else line, parts[1].strip() if len(parts) > 1 else None)


def _shape(row: _Row, size: int, solved: bool) -> str | None:
    """What is wrong with the characters of a row, if anything."""
    side = round(size**0.5)
    digits = "".join(str(digit) for digit in range(1, side + 1))
    if solved and not row.solution:
        return "no solution, though the first row has one"
    if row.solution is not None and not solved:
        return "a solution, though the first row has none"
    for kind, text, allowed in (
        ("", row.puzzle, digits + _BLANKS),
        (" in the solution", row.solution, digits),
    ):
        if text is None:
            continue
        if len(text) != size:
            return f"expected {size} characters{kind}, got {len(text)}"
        if text.strip(allowed):
            strange = next(i for i, sign in enumerate(text) if sign not in allowed)
            blank = f" or a blank ({' '.join(_BLANKS)})" if not kind else ""
            return (
                f"{text[strange]!r} at position {strange + 1}{kind}; "
                f"expected a digit 1-{side}{blank}"
            )
    return None


def _tokens(texts: list[str], size: int, blanks: bool) -> npt.NDArray[np.int32]:
    """Checked texts of one length -> (N, size) int32 tokens."""
    table = np.zeros(128, np.int32)
    table[ord("1") : ord("9") + 1] = np.arange(2, 11)
    if blanks:
        table[[ord(sign) for sign in _BLANKS]] = 1
    characters = np.frombuffer("".join(texts).encode("ascii"), np.uint8)
    return table[characters].reshape(len(texts), size)
