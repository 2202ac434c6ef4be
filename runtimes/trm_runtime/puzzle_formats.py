"""The puzzles of a text file in the formats that people have, each found by a recogniser.

In order: JSON, JSON lines, a table with a header, a board a line, a board over several lines. The
first recogniser that knows the beginning of a file reads it; a text that none knows is read as a
board a line, so that its first lines are named as bad. Knows boards as text; knows no token ids.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

from trm_runtime import strict_json
from trm_runtime.arc_json import is_arc, refuse_almost_arc
from trm_runtime.board_text import BoardSigns
from trm_runtime.errors import RejectedInputError
from trm_runtime.message_text import counted, first_line
from trm_runtime.puzzle_json import boards_in
from trm_runtime.puzzle_names import (
    PUZZLE_NAMES,
    SOLUTION_NAMES,
    kind_of,
    known_names,
    place_of,
    words_of,
)
from trm_runtime.puzzle_source import whole_document

_HEAD = 256  # lines that a recogniser may look at

Lines = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class BoardText:
    """One puzzle of a file, and its solution where it has one, as text of the cells."""

    place: str  # such as `line 3`
    puzzle: str
    solution: str | None = None
    problem: str = ""  # why it is no board


_Grid = tuple[int, int, str]  # first line, number of lines, cells
Found = Optional[tuple[int, Iterator[BoardText]]]  # the cells of a board, and the boards


def read_boards(lines: Lines, signs: BoardSigns, name: str) -> tuple[int, Iterator[BoardText]]:
    """The cells of a board, one of `signs.sizes`, and the boards in turn.

    Only the beginning of the lines is read before the first board. Raises RejectedInputError for a
    table whose columns are not known, and for JSON without puzzles.
    """
    wanted = _without_comments(lines, signs)
    head = list(itertools.islice(wanted, _HEAD))
    rest = itertools.chain(head, wanted)
    recognisers: tuple[Callable[..., Found], ...] = (_json, _table, _line_each, _grids)
    for recognise in recognisers:
        found = recognise(head, rest, signs, name)
        if found is not None:
            return found
    size = signs.sizes[-1]
    return size, _split_lines(rest, signs, size)


def _without_comments(lines: Lines, signs: BoardSigns) -> Lines:
    """Without comments; lines without text stay, because they may be rows of a maze."""
    return ((number, line) for number, line in lines if not signs.is_comment(line))


def _texts(lines: Iterable[tuple[int, str]]) -> Lines:
    return ((number, line) for number, line in lines if line.strip())


# JSON ---------------------------------------------------------------------------------------------


def _json(head: Sequence[tuple[int, str]], rest: Lines, signs: BoardSigns, name: str) -> Found:
    """One document, or one a line: boards, or objects with known names, at any depth."""
    texts = [line.strip() for _, line in itertools.islice(_texts(head), 2)]
    if not texts or not re.match(r"\{|\[\s*($|[\[{\"\d\]n])", texts[0]):
        return None
    if not isinstance(_parsed(texts[0]), ValueError) and all(text[0] in "{[" for text in texts):
        each = ((f"line {number}", _parsed(line)) for number, line in _texts(rest))
        return _sized(_boards_of(each, signs, name), signs)
    numbers, text = whole_document(rest, name)
    whole = _parsed(text)
    if isinstance(whole, ValueError):  # such as a printed NumPy array
        lines = zip(numbers, text.split("\n"))
        found = _line_each(head, lines, signs, name) or _grids(head, lines, signs, name)
        if found is not None:
            return found
    return _sized(_boards_of(iter([("", whole)]), signs, name), signs)


def _parsed(text: str) -> Any:
    """The value of a JSON text; the error of one that has none."""
    try:
        return strict_json.parse(text)
    except ValueError as error:
        return error


def _boards_of(
    each: Iterator[tuple[str, Any]], signs: BoardSigns, name: str
) -> Iterator[BoardText]:
    for place, value in each:
        where = f"{name} {place}".strip()
        if isinstance(value, ValueError):
            raise RejectedInputError(f"{where}: not valid JSON: {first_line(value)}.") from value
        _refuse_arc(value, signs, name)
        found = False
        for number, (puzzle, solution) in enumerate(boards_in(value, signs, name), start=1):
            found = True
            shown = place if place and number == 1 else f"{place} puzzle {number}".strip()
            yield BoardText(shown, puzzle, solution)
        if not found:
            names = f", got {', '.join(value)[:80]}" if isinstance(value, dict) else ""
            raise RejectedInputError(f"{where}: no puzzle in this JSON{names}; {known_names()}.")


def _refuse_arc(value: Any, signs: BoardSigns, name: str) -> None:
    """Raise RejectedInputError for ARC problems, which `arc_json` reads from files of their own."""
    if signs.arc:
        refuse_almost_arc(value, name)
        if is_arc(value):
            raise RejectedInputError(
                f"{name}: has ARC problems, which are only read from a file with one problem, or "
                "with one object of several by name; save them so."
            )
    if is_arc(value):
        sizes = " or ".join(map(str, signs.sizes))
        raise RejectedInputError(
            f"{name}: has ARC problems, but a board has the size {sizes} here; ARC needs a model "
            "of its own."
        )


# Tables -------------------------------------------------------------------------------------------


def _table(head: Sequence[tuple[int, str]], rest: Lines, signs: BoardSigns, name: str) -> Found:
    """A header with known names, or with words above a row that has a board."""
    texts = list(itertools.islice(_texts(head), 3))
    told = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", texts[0][1]) if texts else None
    texts = texts[1:] if told else texts
    if not texts:
        return None
    header = texts[0][1]
    signs_tried = told.group(1) if told else "\t;,|"
    split = {sign: next(csv.reader([header], delimiter=sign), []) for sign in signs_tried}
    known = {sign: sum(map(bool, map(kind_of, split[sign]))) for sign in signs_tried}
    sign = max(signs_tried, key=lambda sign: known[sign])
    if known[sign] and (len(split[sign]) > 1 or _boarded(texts[1:], signs)):
        columns = [column.strip() for column in split[sign]]
        return _table_of(columns, sign, rest, texts[0][0], signs, name)
    if len(texts) > 1 and _is_header(header, texts[1][1], signs):
        columns = [column.strip(' "') for column in re.split("[\t;,|]", header)]
        if len(columns) == 1:  # a title
            below = (line for line in rest if line[0] != texts[0][0])
            return _line_each(texts[1:], below, signs, name)
        raise RejectedInputError(
            f"{name}: its first line is no puzzle but has the columns {', '.join(columns)}; "
            f"{known_names()}."
        )
    return None


def _table_of(
    columns: list[str], sign: str, rest: Lines, header: int, signs: BoardSigns, name: str
) -> Found:
    puzzle, solution = (place_of(columns, kind) for kind in (PUZZLE_NAMES, SOLUTION_NAMES))
    if puzzle is None:
        raise RejectedInputError(
            f"{name}: no column of puzzles, got {', '.join(columns)}; {known_names()}."
        )
    rows = _rows(rest, sign, header, signs, name)
    first = list(itertools.islice(rows, 1))
    if solution is None and first:
        _refuse_unknown_solutions(columns, first[0][1], puzzle, signs, name)
    missing = [""] * len(columns)
    every = (
        BoardText(
            f"line {number}",
            (row + missing)[puzzle],
            None if solution is None else (row + missing)[solution],
        )
        for number, row in itertools.chain(first, rows)
    )
    return _sized(every, signs)


def _refuse_unknown_solutions(
    columns: list[str], row: list[str], puzzle: int, signs: BoardSigns, name: str
) -> None:
    for column, text in zip(columns, row):
        if column != columns[puzzle] and signs.size_of(text) is not None:
            raise RejectedInputError(
                f"{name}: the column {column!r} has boards, but its name is not known; rename it "
                "to solution if it has the solutions, else remove it."
            )


def _rows(
    rest: Lines, sign: str, header: int, signs: BoardSigns, name: str
) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, cells) of the rows below the header; a cell may have several lines."""
    last, split = header, re.escape(sign)

    def texts() -> Iterator[str]:
        nonlocal last
        for number, line in _texts(rest):
            if number > header and not signs.is_rule(line):
                last = number
                if '"' in line:
                    line = re.sub(rf'(^|{split}) +"', r'\1"', line)
                    line = re.sub(rf'" +({split}|$)', r'"\1', line)
                yield f"{line}\n"

    try:
        for row in csv.reader(texts(), delimiter=sign):
            yield last, row
    except csv.Error as error:
        raise RejectedInputError(
            f"{name} line {last}: not a row of a table: {first_line(error)}."
        ) from error


def _boarded(below: Sequence[tuple[int, str]], signs: BoardSigns) -> bool:
    """Whether the next line has a board, or there is none."""
    return not below or _board_size(below[0][1], signs) is not None


def _is_header(line: str, below: str, signs: BoardSigns) -> bool:
    """Whether a line has words only and is no board, and the line below it has a board."""
    size = None if _board_size(line, signs) else _board_size(below, signs)
    fields = [field.strip(' "') for field in re.split("[\t;,|]", line)]
    words = all(re.search(r"[^\W\d]", field) for field in fields)
    return size is not None and words and not any(signs.looks_like(f, size) for f in fields)


def _board_size(line: str, signs: BoardSigns) -> int | None:
    """The size of the first board in a line."""
    return next((n for n in signs.sizes if signs.fits(signs.split(line, n)[0], n)), None)


# Lines --------------------------------------------------------------------------------------------


def _line_each(head: Sequence[tuple[int, str]], rest: Lines, signs: BoardSigns, name: str) -> Found:
    """A board in some line of the beginning."""
    for _, line in _texts(head):
        size = _board_size(line, signs)
        if size is not None:
            return size, _split_lines(rest, signs, size)
    return None


def is_board(line: str, signs: BoardSigns) -> bool:
    """Whether a file that begins with this line, comments left out, has a board a line."""
    return line.lstrip()[:1] not in ("{", "[") and _board_size(line, signs) is not None


def board_each(lines: Lines, signs: BoardSigns) -> Iterator[BoardText]:
    """The boards of lines that have one each, as soon as a line is there."""
    return _split_lines(_without_comments(lines, signs), signs, signs.sizes[-1])


def _split_lines(lines: Lines, signs: BoardSigns, size: int) -> Iterator[BoardText]:
    for number, line in _texts(lines):
        puzzle, *others = signs.split(line, size)
        yield BoardText(f"line {number}", puzzle, others[0] if others else None)


# Grids --------------------------------------------------------------------------------------------


def _grids(head: Sequence[tuple[int, str]], rest: Lines, signs: BoardSigns, name: str) -> Found:
    """Boards of as many lines as a line has cells, with titles or empty lines between them."""
    for size in signs.sizes:
        side = round(size**0.5)
        rows = [signs.fits(signs.compact(line, side), side) for _, line in head]
        together = any(all(rows[i : i + 2]) for i in range(len(rows) - 1))
        if side * side == size and side > 1 and together:
            return size, _stacked(rest, signs, side, name)
    return None


def _stacked(lines: Lines, signs: BoardSigns, side: int, name: str) -> Iterator[BoardText]:
    """The boards, after the last line, because the solutions may be below all puzzles."""
    puzzles, solutions = list[_Grid](), list[_Grid]()
    for title, start, rows in _blocks(lines, signs, side):
        text, words = ("" if signs.ids else " ").join(rows), words_of(title)
        if words & {*SOLUTION_NAMES}:
            solutions.append((start, len(rows), text))
        elif "state" not in words:  # of a game that is being played
            puzzles.append((start, len(rows), text))
    if solutions and len(puzzles) != len(solutions):
        raise _unpaired(puzzles, solutions, side, name)
    for puzzle, solution in itertools.zip_longest(puzzles, solutions):
        problem = _cut(puzzle, side) or (_cut(solution, side) if solution else "")
        yield BoardText(f"line {puzzle[0]}", puzzle[2], solution and solution[2], problem)


def _cut(grid: _Grid, side: int) -> str:
    """What is wrong with the number of lines of a board, if anything."""
    lines = grid[1]
    return "" if lines == side else f"expected {side} lines of {side} cells, got {lines}"


def _unpaired(
    puzzles: Sequence[_Grid], solutions: Sequence[_Grid], side: int, name: str
) -> RejectedInputError:
    cut = min((grid for grid in (*puzzles, *solutions) if _cut(grid, side)), default=None)
    where = f" (line {cut[0]}: {_cut(cut, side)})" if cut else ""
    return RejectedInputError(
        f"{name}: has {counted(len(puzzles), 'puzzle')} and {counted(len(solutions), 'solution')}, "
        f"expected as many of both{where}; boards below a title with `solution` are solutions "
        "until the next title."
    )


def _blocks(lines: Lines, signs: BoardSigns, side: int) -> Iterator[tuple[str, int, list[str]]]:
    """(last title above, first line, rows) of every run of rows, cut after `side` of them."""
    title, start, rows = "", 0, list[str]()
    for number, line in lines:
        row = signs.compact(line, side)
        is_row = signs.fits(row, side) and (bool(line.strip()) or bool(rows))
        if is_row:
            start = start if rows else number
            rows.append(row)
        if rows and (len(rows) == side or not (is_row or signs.is_rule(line))):
            yield title, start, rows
            rows = []
        if not is_row and line.strip() and not signs.is_rule(line):
            title = line
    if rows:
        yield title, start, rows


def _sized(boards: Iterator[BoardText], signs: BoardSigns) -> tuple[int, Iterator[BoardText]]:
    """The size of the first board that fits one, and the boards with their cells alone."""
    head = list(itertools.islice(boards, _HEAD))
    sizes = (signs.size_of(board.puzzle) for board in head)
    size = next((size for size in sizes if size is not None), signs.sizes[-1])
    return size, (
        replace(
            board,
            puzzle=signs.compact(board.puzzle, size),
            solution=None if board.solution is None else signs.compact(board.solution, size),
        )
        for board in itertools.chain(head, boards)
    )
