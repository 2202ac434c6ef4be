"""The symmetries of ARC grids; `trm_runtime.arc_grids` has the grids. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trm_runtime.arc_grids import COLOURS, SIDE, Grid, checked_grid, decode, encode

__all__ = [
    "COLOURS",
    "SIDE",
    "Grid",
    "Symmetry",
    "checked_grid",
    "decode",
    "encode",
    "random_symmetry",
]


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
