"""Read puzzles from text, one a line, with the alphabet of the contract; print answers with it.

A line holds the S cells of a puzzle as S characters of the alphabet, or as S token ids separated
by spaces or commas. Empty lines are skipped, and so are lines that start with `#`, unless `#` is
itself in the alphabet. A dot, an underscore or a space in the alphabet stands for a blank cell; all
others are given. Knows nothing more about any particular task.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError
from trm_runtime.message_text import counted, first_few
from trm_runtime.solution import Solution

BLANKS = frozenset("._ ")  # an id read from any of these is a cell that the puzzle leaves open
UNPRINTABLE = "?"  # for an id without a character, such as padding

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")


class _BadLineError(ValueError):
    pass


def read_puzzles(source: str, contract: StepContract) -> np.ndarray[Any, Any]:
    """Every puzzle of the text file `source` ("-" is standard input) as (N, S) int32 token ids.

    Raises RejectedInputError when it cannot be read or holds none, and for bad lines, the first
    few of which are named with what is wrong.
    """
    name, text = _named_text(source)
    rows = _parse(name, text.splitlines(), contract)
    if not rows:
        raise RejectedInputError(f"{name}: holds no puzzles; expected one a line")
    return np.array(rows, dtype=np.int32)


def read_identifiers(source: str) -> np.ndarray[Any, Any]:
    """The puzzle identifiers in the text file `source`, one a line: (N,) int32.

    Raises RejectedInputError when it cannot be read, and for lines that are no whole number.
    """
    name, text = _named_text(source)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    given = [(number, line) for number, line in lines if line]
    problems = [
        f"{name}:{number}: expected one whole number, got {line!r:.60}"
        for number, line in given
        if not _WHOLE_NUMBER.fullmatch(line)
    ]
    if problems:
        summary = f"{name}: {counted(len(problems), 'bad line')}:"
        raise RejectedInputError(summary, first_few(problems))
    return np.array([int(line) for _, line in given], dtype=np.int32)


def _named_text(source: str) -> tuple[str, str]:
    name = "standard input" if source == "-" else source
    try:
        return name, _read_text(source)
    except OSError as error:
        raise RejectedInputError(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{name}: is not UTF-8 text: {error}") from error


def _read_text(source: str) -> str:
    if source == "-" and sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    return data.decode("utf-8-sig")


def _parse(name: str, lines: Sequence[str], contract: StepContract) -> list[list[int]]:
    alphabet = contract.alphabet or ()
    lookup = {character: i for i, characters in enumerate(alphabet) for character in characters}
    rows, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (line.lstrip().startswith("#") and "#" not in lookup):
            continue
        try:
            rows.append(_cells(line, lookup, contract.seq_len, contract.vocab_size))
        except _BadLineError as error:
            problems.append(f"{name}:{number}: {error}")
    if problems:
        raise RejectedInputError(
            f"{name}: {counted(len(problems), 'bad line')}:", first_few(problems)
        )
    return rows


def _cells(line: str, lookup: dict[str, int], seq_len: int, vocab: int) -> list[int]:
    cells = line if " " in lookup else line.strip()
    if len(cells) == seq_len and all(character in lookup for character in cells):
        return [lookup[character] for character in cells]
    words = line.replace(",", " ").split()
    if len(words) > 1 and all(_WHOLE_NUMBER.fullmatch(word) for word in words):
        return _ids([int(word) for word in words], seq_len, vocab)
    if not lookup:
        raise _BadLineError(f"expected {seq_len} token ids separated by spaces or commas")
    if len(cells) != seq_len:
        raise _BadLineError(f"expected {seq_len} cells, got {len(cells)} characters")
    column = next(i for i, character in enumerate(cells) if character not in lookup)
    known = "".join(sorted(lookup))
    raise _BadLineError(f"column {column + 1}: {cells[column]!r} is not one of {known}")


def _ids(ids: list[int], seq_len: int, vocab: int) -> list[int]:
    if len(ids) != seq_len:
        raise _BadLineError(f"expected {seq_len} cells, got {len(ids)} token ids")
    for column, value in enumerate(ids, start=1):
        if not 0 <= value < vocab:
            raise _BadLineError(f"column {column}: id {value} is not in 0..{vocab - 1}")
    return ids


def answer_text(ids: Iterable[int], contract: StepContract) -> str:
    """An answer for people: its characters, or without an alphabet its ids with spaces."""
    if contract.alphabet is None:
        return " ".join(str(value) for value in ids)
    return "".join(contract.alphabet[value][:1] or UNPRINTABLE for value in ids)


def givens_kept(
    puzzles: np.ndarray[Any, Any], solution: Solution, contract: StepContract
) -> list[bool | None]:
    """Whether each answer repeats every given cell of its puzzle.

    None for a puzzle without an answer, and for all of an alphabet without blanks.
    """
    opened = open_cells(contract, puzzles)
    if opened is None:
        return [None] * len(puzzles)
    kept = (opened | (solution.answers == puzzles)).all(axis=1)
    answered = np.isfinite(solution.q_halt)  # NaN until a first step has been latched
    return [bool(k) if known else None for k, known in zip(kept, answered)]


def open_cells(
    contract: StepContract, puzzles: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any] | None:
    """(N, S) bool: the cells to be filled in; None where the alphabet has no blanks."""
    blanks = [i for i, entry in enumerate(contract.alphabet or ()) if BLANKS.intersection(entry)]
    return np.isin(puzzles, blanks) if blanks else None
