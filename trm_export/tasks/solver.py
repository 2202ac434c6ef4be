"""Solve and count solutions of many Sudoku puzzles at once, in numpy alone.

One bit is one puzzle: the candidates of a batch are stored in words of 64 puzzles, so a sweep of
constraint propagation over the batch is a few hundred bitwise numpy calls for any puzzles. Rows
that propagation cannot finish are unpacked, split in two at a cell with the fewest candidates, and
packed again.

Why not a library: at the time of writing `exact-cover` has wheels for CPython 3.11 only and is
GPL, the faster solvers need a Rust compiler, and numba would be a heavy pinned dependency for
this one file. This module needs nothing but numpy and knows nothing about tasks or splits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = ["any_solution", "count_guesses", "count_solutions", "random_grids", "solve"]

Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int32]
Tokens = npt.NDArray[np.integer]

_CHUNK = 4096  # nodes propagated together: 64 words a candidate, which stays in cache
_SWEEPS = 12  # sweeps before finished rows are taken out and replaced
_WORD = 64  # puzzles a machine word
_UNITS = ((2, 3), (0, 1), (1, 3))  # axes inside a row, a column, a box of (band, row, stack, col)


def count_solutions(puzzles: Tokens, limit: int = 2) -> Ints:
    """Number of solutions of each puzzle, counted up to `limit`.

    puzzles: (N, S) integer tokens, S = 16 or 81; 1 is a blank, 2.. are the digits.
    Returns (N,) int32 in 0..limit. A puzzle whose clues clash has 0 solutions.
    """
    return _search(_candidates(np.asarray(puzzles)), limit)[0]


def solve(puzzles: Tokens) -> Ints:
    """One solution of each puzzle, as tokens.

    puzzles: (N, S) integer tokens as for `count_solutions`. Returns (N, S) int32 tokens; a row
    of zeros (the pad token) where there is no solution. Of several solutions any may be given.
    """
    counts, grids = _search(_candidates(np.asarray(puzzles)), 1)
    return np.where(counts[:, None] > 0, grids + 2, 0).astype(np.int32)


def count_guesses(puzzles: Tokens) -> Ints:
    """Guesses that a plain solver needs to find the solution and to prove that it is the only one.

    The solver places naked and hidden singles as long as there are any. Then it takes a cell with
    the fewest candidates, the first of them in reading order, guesses a digit, and later goes on
    without that digit there. That singles are enough (0) is the same in every symmetry of a puzzle;
    a number above 0 is not: it varies by about half of itself.

    puzzles: (N, S) integer tokens as for `count_solutions`. Returns (N,) int32; of a puzzle with
    two solutions the search may end early.
    """
    candidates = _candidates(np.asarray(puzzles))
    guesses = np.zeros(len(candidates), np.int32)
    _search(candidates, 2, guesses=guesses)
    return guesses


def any_solution(candidates: Bools) -> Bools:
    """Whether any grid is left inside the given candidates: (N, S, side) bool -> (N,) bool."""
    return _search(candidates, 1)[0] > 0


def random_grids(count: int, side: int, rng: np.random.Generator) -> Ints:
    """Random complete grids, (count, S) int32 digits 0..side-1, the same for the same `rng`.

    The boxes on the diagonal are filled at random (on 4x4 only the first one: the second could
    leave no solution) and the search goes on in random order. Every grid can occur; they are not
    exactly equally likely.
    """
    box = _box(side * side)
    candidates = np.ones((count, box, box, box, box, side), np.bool_)
    for block in range(box if box > 2 else 1):
        digits = rng.permuted(np.tile(np.arange(side), (count, 1)), axis=1)
        candidates[:, block, :, block, :, :] = np.eye(side, dtype=np.bool_)[
            digits.reshape(count, box, box)
        ]
    return _search(candidates.reshape(count, side * side, side), 1, rng)[1]


def _box(cells: int) -> int:
    """Box width of a board: 16 cells -> 2, 81 cells -> 3."""
    box = round(cells**0.25)
    if box**4 != cells:
        raise ValueError(f"A board must have 16 or 81 cells, got {cells}.")
    return box


def _candidates(puzzles: Tokens) -> Bools:
    """(N, S) tokens -> (N, S, side) bool: one digit for a clue, every digit for a blank."""
    side = _box(puzzles.shape[1]) ** 2
    digits = np.arange(2, side + 2)
    return (puzzles[..., None] == digits) | (puzzles[..., None] == 1)


def _search(
    candidates: Bools,
    limit: int,
    rng: np.random.Generator | None = None,
    guesses: Ints | None = None,
) -> tuple[Ints, Ints]:
    """Depth-first over all puzzles together -> (N,) counts up to limit, (N, S) a solution.

    Where `guesses` (N,) is given, each split adds one to it.
    """
    total, cells, _ = candidates.shape
    counts, grids = np.zeros(total, np.int32), np.zeros((total, cells), np.int32)
    starts = range(0, total, _CHUNK)
    stack = [(candidates[i : i + _CHUNK], np.arange(i, min(i + _CHUNK, total))) for i in starts]
    while stack:
        nodes, owners = _pop(stack)
        wanted = counts[owners] < limit
        if not wanted.any():
            continue
        nodes, owners = nodes[wanted], owners[wanted]
        nodes, alive, moving = _propagate(nodes)
        done = alive & ~moving & (nodes.sum(axis=2, dtype=np.uint8) == 1).all(axis=1)
        np.add.at(counts, owners[done], 1)
        grids[owners[done]] = nodes[done].argmax(axis=2)
        stalled = alive & ~moving & ~done
        if guesses is not None:
            np.add.at(guesses, owners[stalled], 1)
        first, second = _split(nodes[stalled], rng)
        for block, rows in ((nodes, alive & moving), (second, stalled), (first, stalled)):
            if rows.any():
                stack.append((block[rows] if block is nodes else block, owners[rows]))
    return np.minimum(counts, limit), grids


def _pop(stack: list[tuple[Bools, npt.NDArray[np.intp]]]) -> tuple[Bools, npt.NDArray[np.intp]]:
    """The newest blocks of the stack, as many as fill a chunk (always at least one)."""
    blocks = [stack.pop()]
    size = len(blocks[0][1])
    while stack and size + len(stack[-1][1]) <= _CHUNK:
        blocks.append(stack.pop())
        size += len(blocks[-1][1])
    return np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks])


def _split(nodes: Bools, rng: np.random.Generator | None) -> tuple[Bools, Bools]:
    """Branch at a cell with the fewest candidates: (cell is d, cell is not d) for one digit d."""
    rows = np.arange(len(nodes))
    sizes = nodes.sum(axis=2, dtype=np.float32)
    sizes[sizes < 2] = np.inf
    if rng is not None:
        sizes += rng.random(sizes.shape, np.float32) / 2
    cell = sizes.argmin(axis=1)
    options = nodes[rows, cell]
    if rng is None:
        digit = options.argmax(axis=1)
    else:
        digit = (options * (1 + rng.random(options.shape, np.float32))).argmax(axis=1)
    first, second = nodes.copy(), nodes.copy()
    first[rows, cell] = False
    first[rows, cell, digit] = True
    second[rows, cell, digit] = False
    return first, second


def _propagate(nodes: Bools) -> tuple[Bools, Bools, Bools]:
    """Naked and hidden singles to a fixed point, or for `_SWEEPS` sweeps.

    (K, S, side) bool -> the reduced candidates, (K,) not contradicted, (K,) still changing.
    """
    count, cells, side = nodes.shape
    padded = np.zeros((cells * side, -(-count // _WORD) * _WORD), np.bool_)
    padded[:, :count] = nodes.reshape(count, -1).T
    words = np.packbits(padded, axis=1).view(np.uint64).reshape(cells, side, -1)
    dead = np.zeros(words.shape[-1], np.uint64)
    for _ in range(_SWEEPS):
        before = words.copy()
        dead |= _sweep(words)
        changed = np.bitwise_or.reduce(before ^ words, axis=(0, 1)) & ~dead
        if not changed.any():
            break
    flat = _unpack(words.reshape(cells * side, -1), count)
    reduced = np.ascontiguousarray(flat.T).reshape(count, cells, side)
    return reduced, ~_unpack(dead[None], count)[0], _unpack(changed[None], count)[0]


def _unpack(words: Words, count: int) -> Bools:
    """(R, W) words -> (R, count) bool."""
    return np.unpackbits(words.view(np.uint8), axis=1, count=count).view(np.bool_)


def _sweep(words: Words) -> Words:
    """Place every naked and hidden single once, in place; returns the contradicted puzzles."""
    cells, side, width = words.shape
    box = _box(cells)
    once, twice = _once_twice(words[:, digit] for digit in range(side))
    dead: Words = ~np.bitwise_and.reduce(once, axis=0)
    shape = (box, box, box, box, side, width)
    placed = (words & (once & ~twice)[:, None]).reshape(shape)
    board = words.reshape(shape)
    for axes in _UNITS:
        unit, set_here = np.moveaxis(board, axes, (0, 1)), np.moveaxis(placed, axes, (0, 1))
        taken, clash = _once_twice(_positions(set_here))
        unit &= set_here | ~taken
        once, twice = _once_twice(_positions(unit))
        hidden = unit & (once & ~twice)
        unit &= hidden | ~np.bitwise_or.reduce(hidden, axis=-2)[..., None, :]
        dead |= np.bitwise_or.reduce(clash, axis=(0, 1, 2))
        dead |= ~np.bitwise_and.reduce(once, axis=(0, 1, 2))
    return dead


def _positions(unit: Words) -> Iterable[Words]:
    """The cells of every unit in turn: (box, box, ...) -> box * box arrays."""
    return (unit[i, j] for i in range(unit.shape[0]) for j in range(unit.shape[1]))


def _once_twice(planes: Iterable[Words]) -> tuple[Words, Words]:
    """Bits set in at least one plane, and in at least two."""
    first, *rest = planes
    once, twice = first.copy(), np.zeros(first.shape, np.uint64)
    for plane in rest:
        twice |= once & plane
        once |= plane
    return once, twice
