"""Random mazes, and shortest paths through them, in batches with numpy.

A maze is a (side, side) board of open cells and walls with walls all around, so that neighbours in
the flattened board are never connected across an edge. Rooms are two cells apart; a growing tree
connects them to a maze without loops, then some more walls between rooms are removed. Knows nothing
about tokens.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["fill_dead_ends", "fingerprints", "paths_from", "random_mazes"]

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]

_STEPS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])


def random_mazes(
    count: int, side: int, loops: int, rng: np.random.Generator, *, branching: float = 0.0
) -> Bools:
    """(count, side, side) bool, True where a cell is open; side at least 5.

    loops: 0 to `loops` further walls of each maze are removed, uniformly. branching: how often a
    maze grows from a random room instead of the newest: 0 makes few long corridors, 1 many short
    ones. An even side has one more line of walls than an odd one, at a random edge, so that all
    directions are alike.
    """
    rooms = (side - 1) // 2
    mazes = np.zeros((count, 2 * rooms + 1, 2 * rooms + 1), np.bool_)
    mazes[:, 1::2, 1::2] = True
    _join_rooms(mazes, rooms, branching, rng)
    _open_walls(mazes, rng.integers(0, loops, count, endpoint=True), rng)
    spare = side - mazes.shape[1]
    if not spare:
        return mazes
    boards = np.zeros((count, side, side), np.bool_)
    for row, (top, left) in enumerate(rng.integers(0, spare, (count, 2), endpoint=True)):
        boards[row, top : side - spare + top, left : side - spare + left] = mazes[row]
    return boards


def paths_from(mazes: Bools, starts: npt.NDArray[np.intp]) -> tuple[Counts, Counts]:
    """Shortest paths from one cell to every other.

    mazes: (N, side, side) bool, edges may be open. starts: (N,) cells, counted row by row.
    Returns (N, S) int32 steps, -1 where there is no path, and (N, S) int32 how many shortest paths
    there are: 0, 1, or 2 for more than one.
    """
    count, side, width = len(mazes), mazes.shape[1], mazes.shape[1] + 2
    free = np.pad(mazes, ((0, 0), (1, 1), (1, 1))).reshape(count, -1)
    here = (starts // side + 1) * width + starts % side + 1
    steps = np.full(free.shape, -1, np.int32)
    ways = np.zeros(free.shape, np.uint8)
    front = np.zeros(free.shape, np.uint8)
    front[np.arange(count), here] = 1
    distance = 0
    while front.any():
        reached = front > 0
        steps[reached] = distance
        ways += front
        neighbours = sum(np.roll(front, by, axis=1) for by in (-1, 1, -width, width))
        front = np.where(free & (steps < 0), np.minimum(neighbours, 2), 0).astype(np.uint8)
        distance += 1
    inside = (slice(None), slice(1, -1), slice(1, -1))
    shape = (count, width, width)
    return (
        steps.reshape(shape)[inside].reshape(count, -1),
        ways.reshape(shape)[inside].reshape(count, -1).astype(np.int32),
    )


def fill_dead_ends(mazes: Bools, ends: Bools, rounds: int) -> Bools:
    """What is left of mazes when so many times all dead ends have become walls.

    mazes, ends, the result: (N, side, side) bool. The cells named by `ends` stay.
    """
    left = np.pad(mazes, ((0, 0), (1, 1), (1, 1)))
    inner = left[:, 1:-1, 1:-1]
    for _ in range(rounds):
        rolled = [np.roll(left, by, axis) for axis in (1, 2) for by in (-1, 1)]
        near = np.sum(rolled, axis=0)
        inner &= (near[:, 1:-1, 1:-1] > 1) | ends
    return inner


def fingerprints(mazes: Bools) -> list[bytes]:
    """16 bytes a maze (N, side, side), equal for mazes that a turn or reflection joins."""
    turned = [np.rot90(mazes, turns, (1, 2)) for turns in range(4)]
    every = [*turned, *(maze.transpose(0, 2, 1) for maze in turned)]
    packed = [np.packbits(maze.reshape(len(mazes), -1), axis=1) for maze in every]
    least = (min(row.tobytes() for row in rows) for rows in zip(*packed, strict=True))
    return [hashlib.blake2b(text, digest_size=16).digest() for text in least]


def _join_rooms(mazes: Bools, rooms: int, branching: float, rng: np.random.Generator) -> None:
    """Opens walls until one path joins any two rooms: a tree that grows in every maze."""
    count = len(mazes)
    rows = np.arange(count)
    fresh = np.pad(np.ones((count, rooms, rooms), np.bool_), ((0, 0), (1, 1), (1, 1)))
    trail = np.zeros((count, rooms * rooms, 2), np.intp)  # rooms to grow from, the newest on top
    trail[:, 0] = rng.integers(1, rooms, (count, 2), endpoint=True)
    depth = np.zeros(count, np.intp)
    fresh[rows, trail[:, 0, 0], trail[:, 0, 1]] = False
    while (depth >= 0).any():
        anywhere = (rng.random(count) * (depth + 1)).astype(np.intp)
        pick = np.where(rng.random(count) < branching, anywhere, depth)
        here = trail[rows, pick]
        near = here[:, None] + _STEPS
        choice = fresh[rows[:, None], near[..., 0], near[..., 1]] * rng.random((count, 4))
        goes = (choice.max(axis=1) > 0) & (depth >= 0)
        to = near[rows, choice.argmax(axis=1)]
        walker, was, now = rows[goes], here[goes], to[goes]
        wall = was + now - 1  # room r, counted from 1, is cell 2 r - 1
        mazes[walker, wall[:, 0], wall[:, 1]] = True
        fresh[walker, now[:, 0], now[:, 1]] = False
        trail[rows, pick] = np.where(goes[:, None], here, trail[rows, depth])  # the top fills a gap
        depth = np.where(goes, depth + 1, np.maximum(depth - 1, -1))
        trail[walker, depth[goes]] = now


def _open_walls(mazes: Bools, wanted: npt.NDArray[np.integer], rng: np.random.Generator) -> None:
    """Opens so many of the walls that still divide two neighbouring rooms of each maze."""
    between = np.zeros(mazes.shape[1:], np.bool_)
    between[1:-1:2, 2:-1:2] = between[2:-1:2, 1:-1:2] = True
    keys = np.where(between & ~mazes, rng.random(mazes.shape), 2.0).reshape(len(mazes), -1)
    last = np.sort(keys, axis=1)[np.arange(len(keys)), np.maximum(wanted - 1, 0)]
    opened = (keys <= last[:, None]) & (keys < 1) & (wanted > 0)[:, None]
    mazes |= opened.reshape(mazes.shape)
