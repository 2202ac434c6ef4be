"""ARC grids as rows of tokens. Knows numpy; knows no model.

The official encoding: a grid of at most 30x30 colours is somewhere on a 30x30 board; 0 pads, 1
marks the end just below the grid and just right of it, 2..11 are the colours 0..9. Sources:
arXiv 2510.04871 and the encoding of its data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trm_runtime.errors import RejectedInputError

SIDE = 30
COLOURS = 10
_END, _FIRST = 1, 2  # tokens: end of the grid, colour 0

Grid = np.ndarray[Any, Any]
Ints = np.ndarray[Any, Any]


def encode(grid: Grid, corner: tuple[int, int] = (0, 0)) -> Ints:
    """(rows, columns) colours 0..9 -> (900,) int32 tokens, the grid's corner at that cell."""
    top, left = corner
    bottom, right = top + grid.shape[0], left + grid.shape[1]
    board = np.zeros((SIDE, SIDE), np.int32)
    board[top:bottom, left:right] = grid.astype(np.int32) + _FIRST
    if bottom < SIDE:
        board[bottom, left:right] = _END
    if right < SIDE:
        board[top:bottom, right] = _END
    return board.reshape(-1)


def decode(tokens: Ints) -> Grid | None:
    """(900,) tokens -> their grid; None for an answer without one.

    The grid is the largest rectangle of colours that holds the first coloured cell as its upper
    left corner: what a model wrote after an end mark does not count.
    """
    board = tokens.reshape(SIDE, SIDE)
    coloured = board >= _FIRST
    if not coloured.any():
        return None
    top, left = (int(coloured.any(axis=axis).argmax()) for axis in (1, 0))
    widths = np.minimum.accumulate(np.cumprod(coloured[top:, left:], axis=1).sum(axis=1))
    areas = widths * np.arange(1, len(widths) + 1)
    rows = int(areas.argmax()) + 1
    columns = int(widths[rows - 1])
    if not columns:
        return None
    return (board[top : top + rows, left : left + columns] - _FIRST).astype(np.uint8)


def checked_grid(rows: Sequence[Sequence[int]], name: str) -> Grid:
    """A grid of a file; RejectedInputError for anything else."""
    try:
        grid = np.asarray(rows)
    except (ValueError, OverflowError) as error:
        got = "rows of different lengths" if isinstance(error, ValueError) else "huge numbers"
        raise RejectedInputError(f"{name}: expected a grid of 1x1 to 30x30, got {got}.") from None
    if grid.ndim != 2 or not 1 <= min(grid.shape) <= max(grid.shape) <= SIDE:
        got = _shape_in_words(grid)
        raise RejectedInputError(f"{name}: expected a grid of 1x1 to 30x30, got {got}.")
    whole = grid.dtype.kind in "iu" and not any(isinstance(c, bool) for row in rows for c in row)
    if not whole or grid.min() < 0 or grid.max() >= COLOURS:
        raise RejectedInputError(f"{name}: expected a grid of the colours 0 to 9, got others.")
    return grid.astype(np.uint8)


def _shape_in_words(grid: Grid) -> str:
    if grid.shape == (0,):
        return "an empty list"
    if grid.ndim < 2:
        return "no list of rows"
    if not grid.size:
        return "empty rows"
    return "x".join(map(str, grid.shape)) if grid.ndim == 2 else "lists in its rows"
