"""Bases: the grids and clues that the puzzles of every split are made from; make and store them.

A base is a solution grid with a set of clues that has one solution. On 9x9 the clue set is
*minimal* (no clue can be removed), and because any larger set also has one solution, a puzzle with
fewer blanks is the base with some solution cells added: no solver is needed to set the difficulty.
Bases of different splits never share a grid invariant, so their grids are disjoint up to
symmetry. The 9x9 bases are shipped in data/sudoku9.npz; `make_bases` made them.

4x4 has only two grids up to symmetry, so there disjoint sets of *grids* cannot exist. Instead
every essentially different one-solution puzzle is enumerated, and those classes are split: no
validation or test puzzle can be turned into a training puzzle by any symmetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trm_export.tasks.solver import any_solution, random_grids
from trm_export.tasks.symmetry import automorphisms, grid_invariants
from trm_export.tasks.task import SPLITS

__all__ = [
    "SPLITS",
    "Bases",
    "load_bases",
    "make_bases",
    "minimal_masks",
    "pack_digits",
    "save_bases",
    "unpack_digits",
]

DATA = Path(__file__).parent / "data"
_CHUNK = 1024  # bases made together
_SEED = 4  # of the 4x4 split; the seed of a data file is stored in the file
_SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}  # of the 4x4 puzzle classes
_GRIDS_4X4 = ("1234341221434321", "1234341223414123")

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bases:
    """The bases of one split.

    solutions: (N, S) uint8 tokens. clues: (N, S) bool, True where the base shows its solution.
    minimal: (N,) bool, True where no clue can be removed. restorable: whether solution cells may
    be added for an easier puzzle; not on 4x4, where that could be a puzzle of another split.
    """

    solutions: npt.NDArray[np.uint8]
    clues: Bools
    minimal: Bools
    restorable: bool = True

    def __len__(self) -> int:
        return len(self.solutions)

    @property
    def blanks(self) -> npt.NDArray[np.int32]:
        """(N,) int32: blanks of each base, the most its puzzles can have."""
        return (~self.clues).sum(axis=1, dtype=np.int32)


@cache
def load_bases(side: int, split: str) -> Bases:
    """The bases of a split ("train", "validation" or "test") for 4x4 or 9x9 boards."""
    if side == 4:
        return _enumerate_4x4()[split]
    with np.load(DATA / f"sudoku{side}.npz", allow_pickle=False) as data:
        digits, clues = data[f"{split}_solutions"], data[f"{split}_clues"]
    shown = np.unpackbits(clues, axis=1, count=side * side).view(np.bool_)
    return Bases(unpack_digits(digits), shown, np.ones(len(shown), np.bool_))


def make_bases(
    side: int,
    counts: Mapping[str, int],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Bases]:
    """New minimal bases, `counts[split]` for each split, no two with the same grid invariant.

    side: 9. The same seed and counts give the same bases. `progress(done, total)` is called from
    time to time. About 5 seconds a thousand on one core.
    """
    if side != 9:
        raise ValueError(f"Bases can be made for 9x9 only, got {side}x{side}.")
    total, rng = sum(counts.values()), np.random.default_rng(seed)
    solutions, clues, known = [], [], set[bytes]()
    while len(known) < total:
        grids = random_grids(_CHUNK, side, rng)
        masks = minimal_masks(grids, rng)
        for grid, mask, key in zip(grids, masks, grid_invariants(grids), strict=True):
            if key.tobytes() not in known:
                known.add(key.tobytes())
                solutions.append(grid)
                clues.append(mask)
        if progress is not None:
            progress(min(len(known), total), total)
    ends = np.cumsum(list(counts.values()))
    tokens, shown = np.array(solutions, np.uint8) + np.uint8(2), np.array(clues)
    cut = [slice(end - count, end) for end, count in zip(ends, counts.values(), strict=True)]
    return {
        split: Bases(tokens[part], shown[part], np.ones(counts[split], np.bool_))
        for split, part in zip(counts, cut, strict=True)
    }


def minimal_masks(grids: npt.NDArray[np.integer], rng: np.random.Generator) -> Bools:
    """A random minimal one-solution clue set for each grid.

    grids: (N, S) digits 0..side-1. Returns (N, S) bool. Clues are tried in random order; one
    goes when no solution has another digit in its cell.
    """
    count, cells = grids.shape
    only = np.eye(round(cells**0.5), dtype=np.bool_)[grids]
    order = rng.permuted(np.tile(np.arange(cells), (count, 1)), axis=1)
    clues, rows = np.ones((count, cells), np.bool_), np.arange(count)
    for cell in order.T:
        candidates = only | ~clues[..., None]
        candidates[rows, cell] = ~only[rows, cell]
        idle = ~any_solution(candidates)
        clues[rows[idle], cell[idle]] = False
    return clues


def save_bases(path: Path, bases: Mapping[str, Bases], seed: int) -> None:
    """Write 9x9 bases: digits as nibbles, clues as bits, and the seed; the same bytes each time."""
    arrays: dict[str, Any] = {"seed": np.array(seed, np.int64)}
    for split, part in bases.items():
        arrays[f"{split}_solutions"] = pack_digits(part.solutions)
        arrays[f"{split}_clues"] = np.packbits(part.clues, axis=1)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def pack_digits(solutions: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(N, 81) tokens of complete 9x9 grids -> (N, 41) bytes, two digits each."""
    digits = np.pad(solutions - 2, ((0, 0), (0, 1)))
    packed: npt.NDArray[np.uint8] = (digits[:, ::2] << 4 | digits[:, 1::2]).astype(np.uint8)
    return packed


def unpack_digits(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The tokens that `pack_digits` packed."""
    nibbles = np.stack([packed >> 4, packed & 15], axis=2).reshape(len(packed), -1)
    return nibbles[:, :81] + np.uint8(2)


@cache
def _enumerate_4x4() -> dict[str, Bases]:
    """Every one-solution 4x4 puzzle up to symmetry, split by class within each clue count."""
    parts = [_classes_4x4(np.array([int(d) - 1 for d in grid])) for grid in _GRIDS_4X4]
    solutions, clues, minimal = (np.concatenate(field) for field in zip(*parts, strict=True))
    every = Bases(solutions, clues, minimal, restorable=False)
    rng = np.random.default_rng(_SEED)
    order = rng.permutation(len(every))
    order = order[np.argsort(every.blanks[order], kind="stable")]
    ends = np.round(np.cumsum([0, *_SHARES.values()]) * 10).astype(int)
    lane = (np.arange(len(order)) * 7) % 10  # 7 is prime to 10: shares hold in any ten in a row
    chosen = {
        split: order[(lane >= ends[i]) & (lane < ends[i + 1])] for i, split in enumerate(_SHARES)
    }
    return {
        split: Bases(
            every.solutions[rows], every.clues[rows], every.minimal[rows], restorable=False
        )
        for split, rows in chosen.items()
    }


def _classes_4x4(grid: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.uint8], Bools, Bools]:
    """Solutions, clues and minimality of all one-solution puzzles of one grid, one a class.

    A puzzle has one solution when its clues meet every set of cells in which another grid
    differs. Two puzzles of this grid are the same class when an automorphism joins their clues.
    """
    masks = np.arange(1 << 16)
    bits = 1 << np.arange(16)
    one = np.ones(len(masks), np.bool_)
    for other in np.unique(((_all_grids_4x4() != grid) * bits).sum(axis=1)):
        one &= (masks & other != 0) | (other == 0)
    shown = (masks[:, None] & bits) != 0
    least = np.full(len(masks), len(masks))
    for cells in automorphisms(grid + 2):
        least = np.minimum(least, (shown[:, cells] * bits).sum(axis=1))
    spare = np.zeros(len(masks), np.bool_)
    for bit in bits:
        spare |= (masks & bit != 0) & one[masks & ~bit]
    chosen = np.flatnonzero(one[:-1] & (least == masks)[:-1])  # not the complete grid
    solutions = np.tile(grid.astype(np.uint8) + np.uint8(2), (len(chosen), 1))
    return solutions, shown[chosen], ~spare[chosen]


def _all_grids_4x4() -> npt.NDArray[np.int8]:
    """All 288 complete 4x4 grids: (288, 16) int8 digits 0..3."""
    grids = np.zeros((1, 0), np.int8)
    for cell in range(16):
        row, column = divmod(cell, 4)
        peers = [
            other
            for other in range(cell)
            if other // 4 == row
            or other % 4 == column
            or (other // 8 == row // 2 and other % 4 // 2 == column // 2)
        ]
        grown = [np.insert(grids, cell, digit, axis=1) for digit in range(4)]
        kept = [g[(g[:, peers] != g[:, cell : cell + 1]).all(axis=1)] for g in grown]
        grids = np.concatenate(kept).astype(np.int8)
    return grids
