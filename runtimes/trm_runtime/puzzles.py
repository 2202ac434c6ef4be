"""Puzzles as text or token ids become token ids (N, S) int32.

A line of text has the S cells of a puzzle as S characters of the contract's alphabet, or as S token
ids separated by spaces or commas. In a file, empty lines are skipped, and so are lines that start
with `#`, unless `#` is in the alphabet. Knows nothing about any particular task.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime.alphabet import id_of, meanings, padded_cells
from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError, unreadable
from trm_runtime.message_text import counted, first_few
from trm_runtime.runner import StepRunner

Array = np.ndarray[Any, Any]

_INTEGER = re.compile(r"-?[0-9]{1,9}")
_UNFIT = "The puzzles do not fit the model:"


class _BadLineError(ValueError):
    pass


def read_puzzles(source: str | os.PathLike[str], model: StepContract | StepRunner) -> Array:
    """Every puzzle of the text file `source` ("-" is standard input) as (N, S) int32 token ids.

    `model` is a runner, or the contract of one.

    Raises RejectedInputError if the file cannot be read or has no puzzles, and for bad lines, of
    which the first few are listed with the reason.
    """
    contract = model if isinstance(model, StepContract) else model.contract
    name, lines = _numbered_lines(os.fspath(source))
    skipped = "" if "#" in id_of(contract.alphabet) else "#"
    given = [(at, line) for at, line in lines if not (skipped and line.lstrip()[:1] == skipped)]
    rows, problems = _parse(given, contract)
    _refuse_lines(name, problems)
    if not len(rows):
        raise RejectedInputError(f"{name}: has no puzzles; expected one a line.")
    return rows


def read_identifiers(source: str | os.PathLike[str]) -> Array:
    """The puzzle identifiers in the text file `source`, one a line: (N,) int32.

    Raises RejectedInputError if it cannot be read, and for lines that are not an integer.
    """
    name, lines = _numbered_lines(os.fspath(source))
    given = [(at, line.strip()) for at, line in lines]
    _refuse_lines(name, [
        f"{at}: expected one integer, got {line!r:.60}"
        for at, line in given if not _INTEGER.fullmatch(line)
    ])  # fmt: skip
    return np.array([int(line) for _, line in given], dtype=np.int32)


def as_tokens(puzzles: Any, contract: StepContract) -> Array:
    """Token ids (N, S) of one puzzle or several, given as text or as ids.

    Text is a string, whose lines are puzzles, or a sequence of strings. Ids are returned unchanged,
    (N, S) or (S,) for one puzzle; `trm_runtime.checks` checks them.

    Raises RejectedInputError for text that does not fit, and for rows of different lengths.
    """
    if isinstance(puzzles, str):
        puzzles = puzzles.splitlines() or [puzzles]
    try:
        array = np.asarray(puzzles)
    except ValueError as error:
        problem = "input 'inputs': expected rows of the same length, got different ones"
        raise RejectedInputError(_UNFIT, [problem]) from error
    if array.dtype.kind == "U":
        lines = enumerate(array.reshape(-1).tolist(), start=1)
        array, problems = _parse(((f"puzzle {number}", line) for number, line in lines), contract)
        if problems:
            raise RejectedInputError(_UNFIT, first_few(problems))
    return array[None] if array.ndim == 1 else array


def refuse_padding(contract: StepContract, tokens: Array) -> None:
    """Raise RejectedInputError for ids (N, S) with padding inside a puzzle, such as digits 0-9.

    The message has the meaning of the ids of the model.
    """
    padded = np.argwhere(padded_cells(contract.alphabet, tokens))
    if len(padded):
        places = [f"row {row}, column {column}: id 0" for row, column in padded.tolist()]
        raise RejectedInputError(
            f"The puzzles contain id 0, which is padding; {_meaning_of_ids(contract)}:",
            first_few(places),
        )


def _meaning_of_ids(contract: StepContract) -> str:
    known = meanings(contract.alphabet or ())
    return f"in this model {known}, so give puzzles as text, or in these ids"


def _numbered_lines(source: str) -> tuple[str, list[tuple[str, str]]]:
    """The name of a source for messages, and (place, text) of every line that is not empty."""
    name = "standard input" if source == "-" else source
    try:
        lines = enumerate(_read_text(source).splitlines(), start=1)
        return name, [(f"{name}:{number}", line) for number, line in lines if line.strip()]
    except OSError as error:
        raise unreadable(name, error) from error
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{name}: not UTF-8 text: {error}.") from error


def _read_text(source: str) -> str:
    if source == "-" and sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    return data.decode("utf-8-sig")


def _refuse_lines(name: str, problems: list[str]) -> None:
    if problems:
        summary = f"{name}: {counted(len(problems), 'bad line')}:"
        raise RejectedInputError(summary, first_few(problems))


def _parse(lines: Iterable[tuple[str, str]], contract: StepContract) -> tuple[Array, list[str]]:
    """The good lines of (place, text) as (N, S) int32, and the problems of the others."""
    lookup, rows, problems = id_of(contract.alphabet), [], []
    for place, line in lines:
        try:
            rows.append(_cells(line, lookup, contract))
        except _BadLineError as error:
            problems.append(f"{place}: {error}")
    return np.array(rows, dtype=np.int32).reshape(-1, contract.seq_len), problems


def _cells(line: str, lookup: dict[str, int], contract: StepContract) -> list[int]:
    cells, size = line if " " in lookup else line.strip(), contract.seq_len
    if len(cells) == size and all(character in lookup for character in cells):
        return [lookup[character] for character in cells]
    words = line.replace(",", " ").split()
    if len(words) > 1 and all(_INTEGER.fullmatch(word) for word in words):
        return _ids([int(word) for word in words], contract)
    if not lookup:
        raise _BadLineError(f"expected {counted(size, 'token id')} separated by spaces or commas")
    if len(cells) != size:
        raise _BadLineError(f"expected {counted(size, 'character')}, got {len(cells)}")
    column = next(i for i, character in enumerate(cells) if character not in lookup)
    known = "".join(sorted(lookup))
    raise _BadLineError(f"column {column + 1}: {cells[column]!r} is not one of {known}")


def _ids(ids: list[int], contract: StepContract) -> list[int]:
    if len(ids) != contract.seq_len:
        raise _BadLineError(f"expected {counted(contract.seq_len, 'token id')}, got {len(ids)}")
    last = contract.vocab_size - 1
    for column, value in enumerate(ids, start=1):
        if not 0 <= value <= last:
            raise _BadLineError(f"column {column}: id {value} is not in 0..{last}")
    padded = padded_cells(contract.alphabet, np.array([ids]))[0]
    if padded.any():
        column = int(padded.argmax()) + 1
        raise _BadLineError(f"column {column}: id 0 is padding; {_meaning_of_ids(contract)}")
    return ids
