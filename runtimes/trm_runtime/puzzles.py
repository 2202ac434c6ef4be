"""Puzzles as text, token ids or files become token ids (N, S) int32.

A board in text has S characters of the contract's alphabet; digits may have spaces, commas or
semicolons between them. Numbers are token ids only where no digit is in the alphabet. The formats
of files are those of `puzzle_formats` and `puzzle_arrays`. Knows nothing about any particular task.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from trm_runtime.alphabet import meanings, padded_cells
from trm_runtime.arc_json import ArcQuestions, read_arc, takes_arc
from trm_runtime.board_text import INTEGER, BoardSigns
from trm_runtime.checks import with_identifiers
from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.message_text import counted, shown
from trm_runtime.puzzle_arrays import read_arrays
from trm_runtime.puzzle_formats import BoardText, Lines, read_boards
from trm_runtime.puzzle_source import is_text, numbered_lines
from trm_runtime.runner import StepRunner

Array = np.ndarray[Any, Any]

_MOST_BAD = 1000  # lines, after which a file is not read on
_UNFIT = "The puzzles do not fit the model:"


class _BadLineError(ValueError):
    pass


def read_puzzles(source: str | os.PathLike[str], model: StepContract | StepRunner) -> Array:
    """Every puzzle of a file or folder as (N, S) int32 token ids; see `read_inputs`."""
    puzzles: Array = read_inputs(source, model)["inputs"]
    return puzzles


def read_inputs(
    source: str | os.PathLike[str], model: StepContract | StepRunner
) -> dict[str, Array]:
    """The inputs of a model from a file: the puzzles (N, S) as `inputs`, integer token ids.

    source: text ("-" is standard input), an .npz with `inputs`, a folder of an official data set,
    or ARC JSON; all but text may also have `puzzle_identifiers` (N,), which are given to a model
    that takes them; 0 without any. model: a runner, or the contract of one.

    Raises RejectedInputError if the file cannot be read or has no puzzles, and for bad lines, of
    which the first few are listed with the reason; UsageError for a source that is no path, and a
    model that is neither.
    """
    contract = model if isinstance(model, StepContract) else getattr(model, "contract", None)
    if not isinstance(contract, StepContract):
        raise UsageError(f"model: expected a runner or its contract, got {shown(model)}.")
    _refuse_no_path(source)
    arc = arc_questions(source, contract)
    if arc is not None:
        return inputs_of_arc(arc, contract)
    if not is_text(source):
        return _of_arrays(source, contract)
    name = "standard input" if os.fspath(source) == "-" else os.fspath(source)
    return inputs_in(numbered_lines(os.fspath(source), name), contract, name)


def inputs_of_arc(arc: ArcQuestions, contract: StepContract) -> dict[str, Array]:
    """The inputs of a model of ARC from the questions of a file."""
    return dict(with_identifiers(contract, arc.inputs, arc.identifiers))


def inputs_in(lines: Lines, contract: StepContract, name: str) -> dict[str, Array]:
    """The inputs of a model from all lines of a text; raises as `read_inputs` does."""
    signs = BoardSigns(contract.alphabet, (contract.seq_len,), _is_of_arc(contract))
    _, boards = read_boards(lines, signs, name)
    rows, problems = _parse(boards, contract)
    if problems:
        raise _bad_lines(name, problems)
    if not len(rows):
        raise RejectedInputError(f"{name}: has no puzzles; expected one a line.")
    return dict(with_identifiers(contract, rows))


def inputs_of_each(
    boards: Sequence[BoardText], contract: StepContract, name: str
) -> Iterator[dict[str, Array]]:
    """The inputs of the boards before the first bad one, if any, which is then refused."""
    rows, problems = _parse(boards, contract)
    bad = (i for i, board in enumerate(boards) if problems[0].startswith(f"{board.place}: "))
    rows = rows[: next(bad)] if problems else rows
    if len(rows):
        yield dict(with_identifiers(contract, rows))
    if problems:
        raise _bad_lines(name, problems)


def _of_arrays(source: str | os.PathLike[str], contract: StepContract) -> dict[str, Array]:
    parts = read_arrays(source)
    if not any(part.inputs.size for part in parts):
        raise RejectedInputError(f"{source}: has no puzzles; expected at least one row.")
    shapes = {part.inputs.shape[1:] for part in parts}
    if shapes != {(contract.seq_len,)}:
        wanted, got = (contract.seq_len,), ", ".join(map(str, sorted(shapes)))
        raise RejectedInputError(f"{source}: expected rows of the shape {wanted}, got {got}.")
    inputs = np.concatenate([part.inputs for part in parts])
    own = [part.identifiers for part in parts if part.identifiers is not None]
    known = np.concatenate(own) if len(own) == len(parts) else None
    return dict(with_identifiers(contract, inputs, known))


def can_have_arc(source: str | os.PathLike[str], contract: StepContract) -> bool:
    """Whether the model is one of ARC, and the source a file and not standard input."""
    return _is_of_arc(contract) and os.fspath(source) != "-"


def _is_of_arc(contract: StepContract) -> bool:
    return takes_arc(contract.seq_len, contract.vocab_size, contract.alphabet)


def arc_questions(source: str | os.PathLike[str], contract: StepContract) -> ArcQuestions | None:
    """The questions of ARC JSON; None for another file, and for a model of other boards."""
    return read_arc(os.fspath(source)) if can_have_arc(source, contract) else None


def read_identifiers(source: str | os.PathLike[str]) -> Array:
    """The puzzle identifiers in the text file `source`, one a line: (N,) int32.

    Raises RejectedInputError if it cannot be read, and for lines that are not an integer;
    UsageError for a source that is no path.
    """
    _refuse_no_path(source)
    name = "standard input" if os.fspath(source) == "-" else os.fspath(source)
    lines = numbered_lines(os.fspath(source), name)
    found, wrong = array("i"), list[str]()
    for number, line in ((number, line.strip()) for number, line in lines if line.strip()):
        if INTEGER.fullmatch(line):
            found.append(int(line))
        elif len(wrong) < _MOST_BAD:
            wrong.append(f"line {number}: expected one integer, got {line!r:.60}")
        else:
            break
    if wrong:
        raise _bad_lines(name, wrong)
    return np.array(found, dtype=np.int32)


def _refuse_no_path(source: Any) -> None:
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(
            f"source: expected the path of a file or folder, got {shown(source)}; puzzles that are "
            "in memory are given to solve as they are."
        )
    if "\0" in os.fspath(source):
        raise UsageError(f"source: expected a path without a null character, got {shown(source)}.")


def _bad_lines(name: str, problems: list[str]) -> RejectedInputError:
    many = "at least " if len(problems) == _MOST_BAD else ""
    summary = f"{name}: {many}{counted(len(problems), 'bad line')}:"
    return RejectedInputError(summary, problems)


def as_tokens(puzzles: Any, contract: StepContract) -> Array:
    """Token ids (N, S) of one puzzle or several, given as text or as ids.

    Text is a string, whose lines are puzzles, or a sequence of strings. Ids are returned unchanged,
    (N, S) or (S,) for one puzzle; `trm_runtime.checks` checks them.

    An empty sequence is no puzzles, (0, S).

    Raises RejectedInputError for text that does not fit, rows of different lengths, and what is
    neither text nor ids, such as a path.
    """
    if isinstance(puzzles, str):
        puzzles = puzzles.splitlines() or [puzzles]
    try:
        array = np.asarray(puzzles)
    except ValueError as error:
        problem = "input 'inputs': expected rows of the same length, got different ones"
        raise RejectedInputError(_UNFIT, [problem]) from error
    if array.dtype.kind == "U":
        signs, lines = BoardSigns(contract.alphabet, (contract.seq_len,)), array.reshape(-1)
        boards = (
            BoardText(f"puzzle {number}", signs.split(line, contract.seq_len)[0])
            for number, line in enumerate(lines.tolist(), start=1)
        )
        array, problems = _parse(boards, contract)
        if problems:
            raise RejectedInputError(_UNFIT, problems)
    elif array.shape == (0,):
        array = np.zeros((0, contract.seq_len), dtype=np.int32)
    else:
        _refuse_kind(puzzles, array)
    return array[None] if array.ndim == 1 else array


def _refuse_kind(puzzles: Any, array: Array) -> None:
    """Raise RejectedInputError for what NumPy makes bytes or one object of."""
    if array.dtype.kind == "S":
        remedy = "decode bytes to a string"
    elif array.dtype.kind != "O" or array.ndim:
        return
    elif isinstance(puzzles, os.PathLike):
        remedy = "read a file with read_puzzles"
    elif isinstance(puzzles, Iterable):
        remedy = "give list(...) of an iterator"
    else:
        remedy = "give a string, a list or an array"
    kind = type(puzzles).__name__
    problem = f"input 'inputs': expected text or token ids, got {kind}; {remedy}"
    raise RejectedInputError(_UNFIT, [problem])


def refuse_padding(contract: StepContract, tokens: Array) -> None:
    """Raise RejectedInputError for ids (N, S) with padding inside a puzzle, such as digits 0-9.

    The message has the meaning of the ids of the model.
    """
    padded = np.argwhere(padded_cells(contract.alphabet, tokens))
    if len(padded):
        places = [f"row {row}, column {column}: id 0" for row, column in padded.tolist()]
        raise RejectedInputError(
            f"The puzzles contain id 0, which is padding; {_meaning_of_ids(contract)}:",
            places,
        )


def _meaning_of_ids(contract: StepContract) -> str:
    known = meanings(contract.alphabet or ())
    return f"in this model {known}, so give puzzles as text, or in these ids"


def _parse(boards: Iterable[BoardText], contract: StepContract) -> tuple[Array, list[str]]:
    """The good boards as (N, S) int32, and the problems of the others, at most _MOST_BAD."""
    signs, rows = BoardSigns(contract.alphabet, (contract.seq_len,)), array("i")
    problems: list[str] = []
    for board in boards:
        try:
            if board.problem:
                raise _BadLineError(board.problem)
            rows.extend(_cells(board.puzzle, signs, contract))
        except _BadLineError as error:
            problems.append(f"{board.place}: {error}")
            if len(problems) == _MOST_BAD:
                break
    return np.array(rows, dtype=np.int32).reshape(-1, contract.seq_len), problems


def _cells(cells: str, signs: BoardSigns, contract: StepContract) -> list[int]:
    size, lookup = contract.seq_len, signs.ids
    if len(cells) == size and all(character in lookup for character in cells):
        return [lookup[character] for character in cells]
    words = cells.split()
    if len(words) > 1 and signs.numbers_are_ids and all(INTEGER.fullmatch(word) for word in words):
        return _ids([int(word) for word in words], contract)
    if not lookup:
        raise _BadLineError(f"expected {counted(size, 'token id')} separated by spaces or commas")
    if len(cells) != size:
        raise _BadLineError(signs.wrong_length(cells, size))
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
