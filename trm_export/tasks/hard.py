"""Hard 9x9 puzzles: minimal ones that no chain of singles solves, rated by the guesses they need.

Validation and test have a quarter of their puzzles from every level of `LEVELS`, on grids that no
other split has in any symmetry. The training puzzles are those of the training bases
(`trm_export.tasks.bases`) that need guesses. `make_yardstick` and `rate` made the shipped
data/sudoku9-hard.npz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trm_export.tasks.bases import (
    DATA,
    Bases,
    load_bases,
    minimal_masks,
    pack_digits,
    unpack_digits,
)
from trm_export.tasks.solver import count_guesses, random_grids
from trm_export.tasks.symmetry import apply, grid_invariants, random_symmetries

__all__ = ["LEVELS", "HardPuzzles", "load_hard", "make_yardstick", "rate", "save_hard"]

LEVELS = ((1, 2), (3, 5), (6, 11), (12, 65535))  # least and most guesses of each level
_CHUNK = 1024  # puzzles generated together
_SYMMETRIES = 8  # symmetries of a puzzle over which its rating is averaged

Bools = npt.NDArray[np.bool_]
Guesses = npt.NDArray[np.uint16]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class HardPuzzles:
    """Minimal puzzles of one split, with the guesses (N,) uint16 that each needs, see `rate`."""

    bases: Bases
    guesses: Guesses

    def __len__(self) -> int:
        return len(self.bases)

    @property
    def levels(self) -> list[npt.NDArray[np.intp]]:
        """The rows of each of `LEVELS`."""
        return [
            np.flatnonzero((self.guesses >= least) & (self.guesses <= most))
            for least, most in LEVELS
        ]


@cache
def load_hard(split: str) -> HardPuzzles:
    """The hard puzzles of a split: "train", "validation" or "test"."""
    with np.load(DATA / "sudoku9-hard.npz", allow_pickle=False) as data:
        guesses = data[f"{split}_guesses"]
        if split == "train":
            bases, rows = load_bases(9, split), np.flatnonzero(guesses)
            return _hard(bases.solutions[rows], bases.clues[rows], guesses[rows])
        solutions, clues = unpack_digits(data[f"{split}_solutions"]), data[f"{split}_clues"]
    shown = np.unpackbits(clues, axis=1, count=81).view(np.bool_)
    return _hard(solutions, shown, guesses)


def rate(puzzles: npt.NDArray[np.integer]) -> Guesses:
    """Guesses that puzzles (N, 81) of tokens need: 0, or the mean over symmetries, rounded up.

    The symmetries are the puzzle itself and random ones, always the same.
    """
    rated = count_guesses(puzzles)
    rows, rng = np.flatnonzero(rated), np.random.default_rng(0)
    for _ in range(_SYMMETRIES - 1):
        rated[rows] += count_guesses(apply(puzzles[rows], *random_symmetries(len(rows), 9, rng)))
    return (-(-rated // _SYMMETRIES)).astype(np.uint16)


def make_yardstick(
    counts: Mapping[str, int], seed: int, known: Bases, progress: Progress | None = None
) -> tuple[dict[str, HardPuzzles], int]:
    """New hard puzzles, `counts[split]` for each split, and how many puzzles were tried for them.

    Random minimal puzzles are made until every level has its quarter. No two grids have the same
    invariant, and none has that of a grid in `known`. The same arguments give the same puzzles.
    """
    if any(count % len(LEVELS) for count in counts.values()):
        raise ValueError(f"each split needs a multiple of {len(LEVELS)} puzzles, got {counts}")
    rng, seen = np.random.default_rng(seed), set(_keys(known.solutions))
    wanted, tried = sum(counts.values()) // len(LEVELS), 0
    found: list[list[tuple[Any, Any, int]]] = [[] for _ in LEVELS]
    while min(map(len, found)) < wanted:
        grids = random_grids(_CHUNK, 9, rng)
        masks = minimal_masks(grids, rng)
        needed, tried = rate(np.where(masks, grids + 2, 1)), tried + _CHUNK
        for grid, mask, guesses, key in zip(grids, masks, needed, _keys(grids), strict=True):
            if guesses and key not in seen:
                seen.add(key)
                found[_level(int(guesses))].append((grid, mask, guesses))
        if progress is not None:
            progress(min(map(len, found)), wanted)
    return _shared_out(found, counts), tried


def save_hard(
    path: Path, yardstick: Mapping[str, HardPuzzles], train: Guesses, seed: int, tried: int
) -> None:
    """Write what `make_yardstick` gave, and the seed; the same bytes each time.

    train: what `rate` gave for all training bases in their order.
    """
    arrays: dict[str, Any] = {"seed": np.array(seed, np.int64), "tried": np.array(tried, np.int64)}
    for split, part in yardstick.items():
        arrays[f"{split}_solutions"] = pack_digits(part.bases.solutions)
        arrays[f"{split}_clues"] = np.packbits(part.bases.clues, axis=1)
        arrays[f"{split}_guesses"] = part.guesses
    arrays["train_guesses"] = train
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _hard(solutions: npt.NDArray[np.uint8], clues: Bools, guesses: Guesses) -> HardPuzzles:
    return HardPuzzles(Bases(solutions, clues, np.ones(len(clues), np.bool_)), guesses)


def _keys(grids: npt.NDArray[np.integer]) -> list[bytes]:
    return [row.tobytes() for row in grid_invariants(grids)]


def _level(guesses: int) -> int:
    return next(i for i, (least, most) in enumerate(LEVELS) if least <= guesses <= most)


def _shared_out(
    found: list[list[tuple[Any, Any, int]]], counts: Mapping[str, int]
) -> dict[str, HardPuzzles]:
    """To each split in turn its share of every level."""
    shares, start = {}, 0
    for split, count in counts.items():
        stop = start + count // len(LEVELS)
        rows = [row for level in found for row in level[start:stop]]
        grids, masks, guesses = (np.array(field) for field in zip(*rows, strict=True))
        tokens = grids.astype(np.uint8) + np.uint8(2)
        shares[split], start = _hard(tokens, masks, guesses.astype(np.uint16)), stop
    return shares
