"""Boards of puzzles as SVG, with few bytes: cells of one kind are one path, digits one text.

The grid is drawn once a page, and what all boards of a puzzle share once a puzzle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from markupsafe import Markup

from trm_export.report.lost_boards import Board, Cell, LostPuzzle
from trm_export.report.svg import element, words

SIDE = 10  # units of a cell
_EMPTY = Cell("", given=False, wrong=False)  # draws nothing
_KINDS: dict[str, Callable[[Cell], bool]] = {
    "ground": lambda cell: cell.given and not (cell.wrong or cell.wall or cell.colour),
    "wall": lambda cell: cell.wall and not (cell.wrong or cell.colour),
    "wrong": lambda cell: cell.wrong and not cell.colour,
}
_TEXTS: dict[str, Callable[[Cell], bool]] = {
    "is-wrong": lambda cell: cell.wrong,
    "is-given": lambda cell: cell.given and not cell.wrong,
    "": lambda cell: not (cell.wrong or cell.given),
}


def shared_parts(puzzles: Iterable[LostPuzzle]) -> Markup:
    """What boards share, once each, for a page that has them: grids, and cells of the puzzles."""
    parts: dict[str, Iterable[Markup]] = {}
    for puzzle in puzzles:
        parts[_grid_name(puzzle)] = _grid(puzzle)
        constant = _constant(puzzle)
        parts[_cells_name(puzzle, constant)] = _plain(constant, puzzle)
    inside = [element("g", found, id=name, class_="board") for name, found in parts.items()]
    return element("svg", [element("defs", inside)], class_="hidden") if parts else Markup("")


def board_svg(puzzle: LostPuzzle, board: Board) -> Markup:
    """One board."""
    side, high = puzzle.side * SIDE, _lines(puzzle) * SIDE
    constant = _constant(puzzle)
    own = [_EMPTY if same else cell for cell, same in zip(board.cells, constant, strict=True)]
    parts = [
        element("use", href=f"#{_cells_name(puzzle, constant)}"),
        *(_squares(own, puzzle.side, kind, fits) for kind, fits in _KINDS.items()),
        *_coloured(own, puzzle.side),
        element("use", href=f"#{_grid_name(puzzle)}"),
        *(part for kind, fits in _TEXTS.items() for part in _digits(own, puzzle, kind, fits)),
        *_rings(own, puzzle.side),
    ]
    return element(
        "svg", parts, viewBox=f"-1 -1 {side + 2} {high + 2}", role="img", aria_label=board.title
    )


def _grid_name(puzzle: LostPuzzle) -> str:
    """The identifier of the grid that boards of this size share."""
    return f"shared-grid-{puzzle.side}-{puzzle.box}-{_lines(puzzle)}"


def _cells_name(puzzle: LostPuzzle, constant: Sequence[Cell | None]) -> str:
    """The identifier of the cells that all boards of a puzzle share."""
    cells = repr((puzzle.side, constant))
    return f"shared-cells-{hashlib.sha256(cells.encode()).hexdigest()[:8]}"


def _constant(puzzle: LostPuzzle) -> list[Cell | None]:
    """Each given cell without a colour that is the same on all boards, None for the others."""
    boards = [board.cells for _, boards in puzzle.sides for board in boards]
    return [
        cells[0] if len({*cells}) == 1 and _KINDS["ground"](cells[0]) else None
        for cells in zip(*boards, strict=True)
    ]


def _plain(cells: Sequence[Cell | None], puzzle: LostPuzzle) -> Iterator[Markup]:
    drawn = [cell or _EMPTY for cell in cells]
    yield _squares(drawn, puzzle.side, "ground", _KINDS["ground"])
    yield from _digits(drawn, puzzle, "is-given", _TEXTS["is-given"])


def _lines(puzzle: LostPuzzle) -> int:
    cells = len(puzzle.sides[0][1][0].cells)
    return -(-cells // puzzle.side)


def _grid(puzzle: LostPuzzle) -> Iterator[Markup]:
    side, lines = puzzle.side, _lines(puzzle)
    for kind, apart in (("thin", 1), ("thick", puzzle.box)):
        if apart:
            down = (f"M{i * SIDE} 0v{lines * SIDE}" for i in range(0, side + 1, apart))
            along = (f"M0 {i * SIDE}h{side * SIDE}" for i in range(0, lines + 1, apart))
            yield element("path", class_=kind, d="".join((*down, *along)))


def _squares(
    cells: Sequence[Cell], side: int, kind: str, fits: Callable[[Cell], bool], style: str = ""
) -> Markup:
    """The cells of a kind as one path of rectangles, each as long as they are side by side."""
    runs: list[list[int]] = []
    for i in (i for i, cell in enumerate(cells) if fits(cell)):
        if runs and runs[-1][0] + runs[-1][1] == i and i % side:
            runs[-1][1] += 1
        else:
            runs.append([i, 1])
    d = "".join(
        f"M{i % side * SIDE} {i // side * SIDE}h{n * SIDE}v{SIDE}h{-n * SIDE}z" for i, n in runs
    )
    return element("path", class_=kind, d=d, style=style) if d else Markup("")


def _coloured(cells: Sequence[Cell], side: int) -> Iterator[Markup]:
    for colour in sorted({cell.colour for cell in cells if cell.colour}):
        yield _squares(cells, side, "", partial(_has, colour), f"fill:{colour}")


def _has(colour: str, cell: Cell) -> bool:
    return cell.colour == colour


def _digits(
    cells: Sequence[Cell], puzzle: LostPuzzle, kind: str, fits: Callable[[Cell], bool]
) -> Iterator[Markup]:
    """The texts of a kind; single characters are one element, with a place for each."""
    found = [
        (i % puzzle.side * SIDE + 5, i // puzzle.side * SIDE + 8, cell.text)
        for i, cell in enumerate(cells)
        if cell.text and fits(cell)
    ]
    if any(len(text) > 1 for *_, text in found):
        yield from (words(x, y, text, kind=kind) for x, y, text in found)
    elif found:
        xs, ys, texts = zip(*found, strict=True)
        places = {"x": " ".join(map(str, xs)), "y": " ".join(map(str, ys))}
        yield element("text", [Markup.escape("".join(texts))], class_=kind, **places)


def _rings(cells: Sequence[Cell], side: int) -> Iterator[Markup]:
    """Frames of wrong cells that have a colour of their own."""
    for i, cell in enumerate(cells):
        if cell.colour and cell.wrong:
            corner = {"x": i % side * SIDE + 1, "y": i // side * SIDE + 1}
            yield element("rect", class_="ring", width=8, height=8, **corner)
