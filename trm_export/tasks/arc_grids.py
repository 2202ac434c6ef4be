"""ARC grids as rows of tokens, and the symmetries of ARC. Knows no task and no model.

The official encoding: a grid of at most 30x30 colours is somewhere on a 30x30 board; 0 pads, 1
marks the end just below the grid and just right of it, 2..11 are the colours 0..9. Sources:
arXiv 2510.04871 and the encoding of its data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trm_runtime.errors import RejectedInputError

__all__ = ["COLOURS", "SIDE", "Symmetry", "decode", "encode", "random_symmetry"]

SIDE = 30
COLOURS = 10
_END, _FIRST = 1, 2  # tokens: end of the grid, colour 0

Grid = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Symmetry:
    """A change of all grids of a problem that leaves it equivalent for a solver.

    turn: 0..7, quarter turns, from 4 on of the transposed grid. colours[c]: what colour c becomes;
    colour 0, the background, stays.
    """

    turn: int = 0
    colours: tuple[int, ...] = tuple(range(COLOURS))

    def apply(self, grid: Grid) -> Grid:
        """The changed grid."""
        laid = grid.T if self.turn >= 4 else grid
        return np.rot90(np.array(self.colours, np.uint8)[laid], self.turn % 4)

    def undo(self, grid: Grid) -> Grid:
        """The grid for which `apply` returns this one."""
        laid = np.rot90(np.argsort(self.colours).astype(np.uint8)[grid], -(self.turn % 4))
        return laid.T if self.turn >= 4 else laid


def random_symmetry(rng: np.random.Generator) -> Symmetry:
    """One of the 8 x 9! symmetries, all equally likely."""
    others = 1 + rng.permutation(COLOURS - 1)
    return Symmetry(int(rng.integers(8)), (0, *others.tolist()))


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
    grid = np.asarray(rows)
    if grid.ndim != 2 or not 1 <= min(grid.shape) <= max(grid.shape) <= SIDE:
        raise RejectedInputError(f"{name}: expected a grid of 1x1 to 30x30, got {grid.shape}.")
    if grid.dtype.kind not in "iu" or grid.min() < 0 or grid.max() >= COLOURS:
        raise RejectedInputError(f"{name}: expected a grid of the colours 0 to 9, got others.")
    return grid.astype(np.uint8)
