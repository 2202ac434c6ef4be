"""Boards of puzzles as SVG, with few bytes: cells of one kind are one path, digits one text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from markupsafe import Markup

from trm_export.report.lost_boards import Board, Cell, LostPuzzle
from trm_export.report.svg import element, words

SIDE = 10  # units of a cell
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


def grid_name(puzzle: LostPuzzle) -> str:
    """The identifier of the grid that boards of this size share."""
    return f"grid-{puzzle.side}-{puzzle.box}-{_lines(puzzle)}"


def grids(puzzles: Iterable[LostPuzzle]) -> Markup:
    """The grids of all these puzzles, once each, for a page that has their boards."""
    shared = {grid_name(puzzle): puzzle for puzzle in puzzles}
    inside = (element("g", _grid(p), id=name) for name, p in shared.items())
    return element("svg", [element("defs", inside)], class_="hidden") if shared else Markup("")


def board_svg(puzzle: LostPuzzle, board: Board) -> Markup:
    """One board."""
    side, high = puzzle.side * SIDE, _lines(puzzle) * SIDE
    parts = [
        *(_squares(board.cells, puzzle.side, kind, fits) for kind, fits in _KINDS.items()),
        *_coloured(board.cells, puzzle.side),
        element("use", href=f"#{grid_name(puzzle)}"),
        *(part for kind, fits in _TEXTS.items() for part in _digits(board, puzzle, kind, fits)),
        *_rings(board.cells, puzzle.side),
    ]
    return element(
        "svg", parts, viewBox=f"-1 -1 {side + 2} {high + 2}", role="img", aria_label=board.title
    )


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
    board: Board, puzzle: LostPuzzle, kind: str, fits: Callable[[Cell], bool]
) -> Iterator[Markup]:
    """The texts of a kind; single characters are one element, with a place for each."""
    found = [
        (i % puzzle.side * SIDE + 5, i // puzzle.side * SIDE + 8, cell.text)
        for i, cell in enumerate(board.cells)
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
