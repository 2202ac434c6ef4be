"""The symmetries of Sudoku: random ones for augmentation, invariants to tell grids apart.

A symmetry relabels the digits, permutes the bands and the rows inside each band, the stacks and
the columns inside each stack, and may transpose. It turns a puzzle with one solution into
another; two boards that a symmetry joins are the same board to a solver, so data splits must be
disjoint *up to symmetry*. Everything works on batches; nothing here generates boards.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import numpy.typing as npt

__all__ = [
    "apply",
    "automorphisms",
    "canonical_puzzles",
    "cell_symmetries",
    "grid_invariants",
    "random_symmetries",
]

Ints = npt.NDArray[np.integer]


def random_symmetries(
    count: int, side: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """One uniformly random symmetry a row.

    Returns (count, S) cells, where output cell `i` is read from input cell `cells[:, i]`, and
    (count, side + 2) int32 tokens, the new token of each old one (pad 0 and blank 1 stay).
    """
    rows, columns = _random_lines(count, side, rng), _random_lines(count, side, rng)
    upright = rows[:, :, None] * side + columns[:, None, :]
    turned = columns[:, None, :] * side + rows[:, :, None]
    cells = np.where(rng.random((count, 1, 1)) < 0.5, upright, turned).reshape(count, side**2)
    digits = rng.random((count, side), np.float32).argsort(axis=1).astype(np.int32)
    fixed = np.tile(np.array([0, 1], np.int32), (count, 1))
    return cells, np.concatenate([fixed, digits + 2], axis=1)


def apply(
    boards: Ints, cells: npt.NDArray[np.intp], tokens: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Each row's own symmetry on (N, S) token boards: puzzles and solutions alike, int32."""
    width = tokens.shape[1]
    base = np.arange(len(boards))[:, None]
    moved = boards.ravel()[cells + base * boards.shape[1]]
    return tokens.ravel()[moved + base * width]


def grid_invariants(grids: Ints) -> npt.NDArray[np.uint8]:
    """A fingerprint of complete 9x9 grids that no symmetry changes.

    grids: (N, 81) integers, any nine labels 0..8 (or tokens 2..10). Returns (N, 72) uint8.

    Two rows define the permutation that sends each digit of one to the digit below it in the
    other. Relabelling conjugates that permutation, column moves leave it alone, row moves only
    exchange pairs of rows of the same kind (one band, or two), so the multiset of its cycle types
    over the 9 + 27 pairs is invariant. Columns give the same, and the two halves are ordered,
    which removes transposition. Different fingerprints prove two grids inequivalent; equal ones
    do not prove equivalence, and are best treated as if they did.
    """
    digits = (grids - grids.min()).reshape(-1, 9, 9).astype(np.uint8)
    rows, columns = _pair_types(digits), _pair_types(digits.transpose(0, 2, 1))
    differs = rows != columns
    first = differs.argmax(axis=1)[:, None]
    swap = np.take_along_axis(rows, first, 1) > np.take_along_axis(columns, first, 1)
    halves = np.where(swap, columns, rows), np.where(swap, rows, columns)
    return np.concatenate(halves, axis=1)


def cell_symmetries(side: int) -> npt.NDArray[np.intp]:
    """Every symmetry of the cells (no relabelling): (128, 16) for 4x4. 9x9 has 3.4 million."""
    if side != 4:
        raise ValueError(f"The symmetries can be listed for 4x4 only, got {side}x{side}.")
    lines = [np.array(bands)[:, None] * 2 for bands in permutations(range(2))]
    inner = [np.array(pair) for pair in product(list(permutations(range(2))), repeat=2)]
    lists = [(band + rows).ravel() for band, rows in product(lines, inner)]
    upright = [(r[:, None] * side + c[None]).ravel() for r, c in product(lists, lists)]
    turned = [(c[None] * side + r[:, None]).ravel() for r, c in product(lists, lists)]
    return np.array(upright + turned)


def canonical_puzzles(puzzles: Ints) -> npt.NDArray[np.int64]:
    """One number a 4x4 puzzle, equal for exactly those puzzles that a symmetry joins.

    puzzles: (N, 16) tokens. Returns (N,) int64: the least, over all 128 x 24 symmetries, of the
    board read as a number to base 5, digits numbered in the order in which they first appear.
    """
    best = np.full(len(puzzles), np.iinfo(np.int64).max)
    for cells in cell_symmetries(4):
        best = np.minimum(best, _first_seen_number(puzzles[:, cells]))
    return best


def automorphisms(grid: Ints) -> npt.NDArray[np.intp]:
    """Cell symmetries that keep a complete 4x4 grid of (16,) tokens, up to relabelling: (A, 16)."""
    cells = cell_symmetries(4)
    return cells[_first_seen_number(grid[cells]) == _first_seen_number(grid[None])]


def _random_lines(count: int, side: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """(count, side) row orders that keep bands together."""
    box = round(side**0.5)
    inner = rng.random((count, box, box), np.float32).argsort(axis=2)
    outer = rng.random((count, box), np.float32).argsort(axis=1)
    lines: npt.NDArray[np.intp] = (outer[:, :, None] * box + inner).reshape(count, side)
    return lines


def _pair_types(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cycle types of all pairs of rows: (N, 9, 9) -> (N, 36), 9 sorted in-band, 27 sorted across.

    A type is coded as the sum of its squared cycle lengths, at most 81; the eight types that two
    Sudoku rows can have (no fixed points) have eight different codes.
    """
    pairs = [(a, b) for a in range(9) for b in range(a + 1, 9)]
    inside = np.array([a // 3 == b // 3 for a, b in pairs])
    place = digits.argsort(axis=2)  # column of each digit in each row
    types = np.empty((len(digits), len(pairs)), np.uint8)
    for column, (a, b) in enumerate(pairs):
        types[:, column] = _cycle_type(np.take_along_axis(digits[:, b], place[:, a], axis=1))
    return np.concatenate(
        [np.sort(types[:, inside], axis=1), np.sort(types[:, ~inside], axis=1)], axis=1
    )


def _cycle_type(permutation: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(N, 9) permutations of 0..8 -> (N,) sum of the squared lengths of their cycles."""
    flat = permutation.astype(np.intp)
    base, start = np.arange(len(flat))[:, None] * 9, np.arange(9)
    flat += base
    position, length = flat, np.zeros(flat.shape, np.uint8)
    for step in range(1, 5):
        length[(position == base + start) & (length == 0)] = step
        position = flat.ravel()[position]
    rest = (length == 0).sum(axis=1, dtype=np.uint8)  # all in one cycle: two of 5 need ten digits
    total: npt.NDArray[np.uint8] = length.sum(axis=1, dtype=np.uint8) + rest * rest
    return total


def _first_seen_number(puzzles: Ints) -> npt.NDArray[np.int64]:
    """(N, 16) tokens -> (N,) base-5 number with digits renamed 1.. in order of appearance."""
    rows = np.arange(len(puzzles))
    names = np.zeros((len(puzzles), 6), np.int64)
    names[:, 1], used = -1, np.zeros(len(puzzles), np.int64)
    number = np.zeros(len(puzzles), np.int64)
    for token in puzzles.T:
        fresh = names[rows, token] == 0
        used += fresh
        names[rows[fresh], token[fresh]] = used[fresh]
        number = number * 5 + np.maximum(names[rows, token], 0)
    return number
