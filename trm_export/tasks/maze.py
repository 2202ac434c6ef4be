"""Mazes with exactly one shortest path, in the encoding of the official Maze-Hard data.

Tokens: 0 pads, 1 is a wall `#`, 2 an open cell, 3 the start `S`, 4 the goal `G`, 5 the path `o`
between them, which only solutions have. The difficulty dial, called blanks as in every task, is
the number of path cells. Mazes are generated on demand, without limit. The split of a maze follows
from a fingerprint of its walls that rotations and reflections do not change, so that the splits
have no maze in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trm_export.tasks import generators, maze_boards
from trm_export.tasks.maze_grids import fill_dead_ends, fingerprints, paths_from, random_mazes
from trm_export.tasks.task import (
    Blanks,
    Cells,
    Checks,
    Piece,
    PuzzleSet,
    Rule,
    blanks_within,
    refuse_shares,
    split_index,
    text_of,
)
from trm_runtime.contract import Symmetries
from trm_runtime.errors import UsageError
from trm_runtime.message_text import counted
from trm_runtime.scalars import whole

__all__ = ["MAZES", "MazeTask"]

DEFAULT_COUNT = 1000  # puzzles of a set by default
_CHUNK = 256  # mazes generated together
_PATIENCE = 200  # chunks without a fitting or new maze before giving up
_SHARES = (204, 26, 26)  # of 256 first bytes of a fingerprint: train, validation, test

Ints = npt.NDArray[np.int32]
Tokens = npt.NDArray[np.integer]


@dataclass(frozen=True)
class MazeTask:
    """Mazes of one size; see `Task`.

    side: cells along an edge, at least 5. blanks_range: the least and most path cells of the
    default difficulty. loops: most walls that are removed after all rooms are connected.
    branching: see `random_mazes`.
    """

    name: str
    side: int
    blanks_range: tuple[int, int]
    loops: int
    levels: tuple[Blanks | None, ...]
    branching: float = 0.0

    alphabet = ("", "#", "._ ", "S", "G", "o")
    vocab_size = 6
    given = Cells(range(1, 5), "# . S or G", "1 wall, 2 open, 3 start, 4 goal")
    solved = Cells(range(1, 6), "# . S G or o", "1 wall, 2 open, 3 start, 4 goal, 5 path")

    available = True
    num_puzzle_identifiers = None
    lessons = 8

    @property
    def symmetries(self) -> Symmetries:
        """The turns and reflections of the board."""
        return generators.dihedral(self.side)

    @property
    def seq_len(self) -> int:
        """Cells of a board, S."""
        return self.side**2

    def puzzles(
        self, split: str, blanks: Blanks | None = None, count: int | None = None, seed: int = 0
    ) -> PuzzleSet:
        """A fixed set of mazes with one shortest path each; no two have the same walls.

        blanks: path cells, exactly so many or in a (least, most) range, over which they spread as
        far as the mazes have such paths; None for the default range. count: None gives 1,000.

        Raises UsageError for an unknown split, and for paths that no maze of this size has.
        """
        span, seed = self._range(blanks), whole(f"{self.name}: seed", seed, 0)
        wanted = DEFAULT_COUNT if count is None else whole(f"{self.name}: count", count)
        known, idle = set[bytes](), 0
        inputs, labels = [], []
        for keys, puzzle, solution in self._generated(split_index(split), span, seed):
            first = {key: row for row, key in reversed(list(enumerate(keys)))}
            new = sorted(row for key, row in first.items() if key not in known)
            known.update(keys)
            inputs.append(puzzle[new])
            labels.append(solution[new])
            idle = 0 if new else idle + 1
            if len(known) >= wanted:
                break
            if idle > _PATIENCE:
                raise UsageError(
                    f"{self.name}: found only {counted(len(known), f'{split} maze')} with "
                    f"{span[0]} to {span[1]} path cells; ask for fewer than {wanted}."
                )
        answers = np.concatenate(labels)[:wanted]
        lengths = (answers == maze_boards.PATH).sum(axis=1, dtype=np.int32)
        return PuzzleSet(np.concatenate(inputs)[:wanted], answers, lengths)

    def batches(
        self,
        batch_size: int,
        blanks: tuple[int, int] | None = None,
        seed: int = 0,
        split: str = "train",
        minimal_fraction: float = 0.0,
        hard_fraction: float = 0.0,
    ) -> Iterator[tuple[Ints, Ints]]:
        """Endless (inputs, labels), both (batch_size, S) int32; a function of the arguments."""
        span, chosen = self._range(blanks), split_index(split)
        batch_size = whole(f"{self.name}: batch_size", batch_size)
        seed = whole(f"{self.name}: seed", seed, 0)
        shares = {"minimal_fraction": minimal_fraction, "hard_fraction": hard_fraction}
        refuse_shares(self.name, "maze", **shares)
        return self._stream(chosen, span, seed, batch_size)

    def lesson(self, inputs: Ints, labels: Ints, number: int) -> Ints:
        """The maze with dead ends filled up to depth 2 x number, all other open cells as path.

        In a maze without loops the last of these leaves only the shortest path.
        """
        boards = inputs.reshape(-1, self.side, self.side)
        ends = (boards == maze_boards.START) | (boards == maze_boards.GOAL)
        left = fill_dead_ends(boards != maze_boards.WALL, ends, 2 * number).reshape(inputs.shape)
        goal = np.where(left & (inputs == maze_boards.OPEN), maze_boards.PATH, inputs)
        return goal.astype(np.int32)

    def check(self, inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
        """Judge answers (N, S); any shortest path is valid."""
        return maze_boards.check_paths(inputs, answers, labels)

    def draw(self, inputs: Tokens, answer: Tokens | None = None) -> list[Piece]:
        """One maze for a terminal, two columns a cell."""
        return maze_boards.draw_maze(inputs, answer)

    def render(self, inputs: Tokens, answer: Tokens | None = None) -> str:
        """The same as text."""
        return text_of(self.draw(inputs, answer))

    def blank_cells(self, inputs: Tokens) -> npt.NDArray[np.bool_]:
        """The open cells, which are path or not."""
        return inputs == maze_boards.OPEN

    def fills(self, inputs: Tokens) -> Ints:
        """The path cells of a shortest path through each maze, 0 where there is none."""
        return maze_boards.path_lengths(inputs)

    def ambiguous(self, inputs: Tokens) -> npt.NDArray[np.bool_]:
        """The mazes with two or more shortest paths."""
        return maze_boards.path_counts(inputs) > 1

    def rules(self, inputs: Tokens, labels: Tokens | None) -> Iterable[Rule]:
        """One start, one goal, a path between them, and the solution is a shortest one."""
        return maze_boards.maze_rules(inputs, labels)

    def _range(self, blanks: Blanks | None) -> tuple[int, int]:
        """(least, most) path cells."""
        given = self.blanks_range if blanks is None else blanks
        return blanks_within(self.name, given, 0, self.seq_len - 1, "a number of path cells")

    def _stream(
        self, split: int, span: tuple[int, int], seed: int, size: int
    ) -> Iterator[tuple[Ints, Ints]]:
        """The generator behind `batches`."""
        inputs = labels = np.zeros((0, self.seq_len), np.int32)
        for _, puzzle, solution in self._generated(split, span, seed):
            inputs = np.concatenate([inputs, puzzle])
            labels = np.concatenate([labels, solution])
            while len(inputs) >= size:
                yield inputs[:size], labels[:size]
                inputs, labels = inputs[size:], labels[size:]

    def _generated(
        self, split: int, span: tuple[int, int], seed: int
    ) -> Iterator[tuple[list[bytes], Ints, Ints]]:
        """Endless (fingerprints, inputs, labels) of mazes of a split with paths in the span."""
        rng, idle = np.random.default_rng((seed, split, *span)), 0
        while idle < _PATIENCE:
            mazes = random_mazes(_CHUNK, self.side, self.loops, rng, branching=self.branching)
            keys = fingerprints(mazes)
            own = [row for row, key in enumerate(keys) if _split_of(key) == split]
            rows, inputs, labels = _with_paths(mazes[own], span, rng)
            idle = 0 if len(rows) else idle + 1
            yield [keys[own[row]] for row in rows], inputs, labels
        raise UsageError(
            f"{self.name}: no mazes found with {span[0]} to {span[1]} path cells; ask for shorter "
            "paths."
        )


MAZES = (
    MazeTask("maze9", 9, (4, 24), 0, (None,), branching=1.0),
    MazeTask("maze11", 11, (5, 40), 0, (None,), branching=1.0),
    MazeTask("maze30", 30, (50, 200), 12, (None,)),
)


def _split_of(key: bytes) -> int:
    return int(np.searchsorted(np.cumsum(_SHARES), key[0], "right"))


def _with_paths(
    mazes: npt.NDArray[np.bool_], span: tuple[int, int], rng: np.random.Generator
) -> tuple[list[int], Ints, Ints]:
    """Rows of the mazes that have a fitting path, and their inputs and labels (n, S).

    Each maze draws its start from all open cells and a length from the span; the goal is the cell
    of the nearest length within the span to which one shortest path leads.
    """
    free = mazes.reshape(len(mazes), -1)
    starts = (free * rng.random(free.shape)).argmax(axis=1)
    steps, ways = paths_from(mazes, starts)
    lengths = steps - 1  # path cells between start and goal
    drawn = rng.integers(span[0], span[1], (len(mazes), 1), endpoint=True)
    fits = (ways == 1) & (lengths >= span[0]) & (lengths <= span[1])
    miss = np.where(fits, np.abs(lengths - drawn) + rng.random(free.shape), np.inf)
    goals, rows = miss.argmin(axis=1), np.flatnonzero(fits.any(axis=1))
    back, _ = paths_from(mazes, goals)
    shortest = steps[np.arange(len(mazes)), goals]
    inputs = np.where(free, maze_boards.OPEN, maze_boards.WALL).astype(np.int32)
    labels = np.where((steps + back == shortest[:, None]) & free, maze_boards.PATH, inputs)
    for tokens in (inputs, labels):
        tokens[np.arange(len(mazes)), starts] = maze_boards.START
        tokens[np.arange(len(mazes)), goals] = maze_boards.GOAL
    return rows.tolist(), inputs[rows], labels[rows].astype(np.int32)
