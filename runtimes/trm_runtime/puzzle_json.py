"""The boards in a JSON value: lists, and objects with known names, at any depth.

Knows boards as text; knows no files and no token ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from trm_runtime.board_text import BoardSigns
from trm_runtime.errors import RejectedInputError
from trm_runtime.puzzle_names import PUZZLE_NAMES, SOLUTION_NAMES, named_so


def boards_in(value: Any, signs: BoardSigns, name: str) -> Iterator[tuple[str, str | None]]:
    """The boards of a JSON value; refuses one that is nested too deeply to be searched."""
    try:
        yield from _pairs(value, signs)
    except RecursionError as error:
        raise RejectedInputError(f"{name}: its JSON is nested too deeply.") from error


def _pairs(value: Any, signs: BoardSigns) -> Iterator[tuple[str, str | None]]:
    """(puzzle, solution) of the boards in a JSON value, at any depth."""
    if isinstance(value, dict):
        puzzle, solution = (_named(value, kind) for kind in (PUZZLE_NAMES, SOLUTION_NAMES))
        if puzzle is None or _has_objects(value[puzzle]):
            yield from _searched(value, solution, signs)
            return
        boards = _column(value[puzzle], signs)
        given = None if solution is None else value[solution]
        no_answers: list[str | None] = [None] * len(boards)
        answers = no_answers if given is None else _column(given, signs)
        yield from itertools.zip_longest(boards, answers, fillvalue="")
    elif isinstance(value, list) and not _is_board(value, signs):
        for inner in value:
            if _is_pair(inner, signs):
                yield signs.text_of(inner[0]), signs.text_of(inner[1])
            else:
                yield from _pairs(inner, signs)
    elif isinstance(value, (list, str)):
        yield signs.text_of(value), None


def _has_objects(value: Any) -> bool:
    """Whether a value is an object, or a list with one at any depth."""
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_objects, value)))


def _searched(
    value: dict[str, Any], solution: str | None, signs: BoardSigns
) -> Iterator[tuple[str, str | None]]:
    """The boards in the values of an object; below `solution` are solutions of the others."""
    answers = [] if solution is None else list(_inside(value[solution], signs))
    pairs = (pair for key in value if key != solution for pair in _inside(value[key], signs))
    if not answers:
        yield from pairs
        return
    found = list(pairs)
    if not found or any(own is not None for _, own in found):
        yield from found or answers
        return
    boards, solutions = ([text for text, _ in part] for part in (found, answers))
    yield from itertools.zip_longest(boards, solutions, fillvalue="")


def _inside(value: Any, signs: BoardSigns) -> Iterator[tuple[str, str | None]]:
    """The boards of a value whose name says nothing: of lists and objects, and a board as text."""
    if isinstance(value, (dict, list)) or (
        isinstance(value, str) and signs.size_of(value) is not None
    ):
        yield from _pairs(value, signs)


def _is_pair(value: Any, signs: BoardSigns) -> bool:
    """Whether a list is a puzzle and its solution."""
    return isinstance(value, list) and len(value) == 2 and all(map(signs.is_board, value))


def _named(value: dict[str, Any], kind: tuple[str, ...]) -> str | None:
    return next(iter(named_so(value, kind)), None)


def _column(value: Any, signs: BoardSigns) -> list[str]:
    """The boards of a field: one, or a list of them."""
    if isinstance(value, list) and not _is_board(value, signs):
        return [signs.text_of(item) for item in value]
    return [signs.text_of(value)]


def _is_board(value: list[Any], signs: BoardSigns) -> bool:
    """Whether a list is the cells or rows of one board, even with a few missing or too many."""
    if signs.is_board(value):
        return True
    near = len(value) <= 2 * max(signs.sizes)
    flat = near and not any(isinstance(item, (list, dict)) for item in value)
    return flat and all(len(str(item)) <= 2 for item in value) and bool(value)
