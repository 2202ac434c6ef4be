"""The symmetries of the tasks as generators, in the form that a step contract has.

An order of the cells lists, for each cell of the new board, the cell that it is read from.
"""

from __future__ import annotations

import numpy as np

from trm_runtime.contract import Symmetries

__all__ = ["dihedral", "sudoku", "transposed"]

Order = tuple[int, ...]


def sudoku(side: int) -> Symmetries:
    """Transposition, swaps and cycles of rows in a band and of bands; the digits are one class.

    Columns and stacks are the rows and bands of a transposed board; the rows of another band are
    those of the first one after the bands have moved.
    """
    box, rows = round(side**0.5), np.arange(side)
    first_two, cycle = np.array([1, 0, *range(2, box)]), np.roll(np.arange(box), -1)
    kinds = [first_two, cycle] if box > 2 else [first_two]  # of two, the cycle is the swap
    inside = [[*kind, *rows[box:]] for kind in kinds]
    bands = [(kind[:, None] * box + np.arange(box)).ravel().tolist() for kind in kinds]
    orders = [_rows(side, order) for order in (*inside, *bands)]
    return Symmetries((transposed(side), *orders), (tuple(range(2, side + 2)),))


def dihedral(side: int) -> Symmetries:
    """The turns and reflections of a square board, by two of them; no token is renamed."""
    return Symmetries((transposed(side), _rows(side, list(range(side))[::-1])))


def transposed(side: int) -> Order:
    """The board reflected at its main diagonal."""
    return tuple(np.arange(side**2).reshape(side, side).T.ravel().tolist())


def _rows(side: int, order: list[int]) -> Order:
    """Row i of the board is its former row `order[i]`."""
    return tuple(np.arange(side**2).reshape(side, side)[order].ravel().tolist())
