"""Sudoku: its token encoding, its fixed puzzle sets and its endless stream of training batches.

Tokens are those of the official data sets: 0 pads, 1 is a blank, 2.. are the digits 1... The
difficulty dial is the number of blanks; every puzzle has exactly one solution. All arrays are
made by vectorised numpy, also in `SudokuTask.batches`, which is the hot path of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trm_export.tasks import generators, sudoku_boards
from trm_export.tasks.bases import Bases, load_bases
from trm_export.tasks.hard import HardPuzzles, load_hard
from trm_export.tasks.solver import count_solutions
from trm_export.tasks.symmetry import apply, random_symmetries
from trm_export.tasks.task import (
    SPLITS,
    Blanks,
    Cells,
    Checks,
    Piece,
    PuzzleSet,
    Rule,
    blanks_within,
    split_index,
)
from trm_runtime.contract import Symmetries
from trm_runtime.errors import UsageError
from trm_runtime.message_text import counted, shown
from trm_runtime.scalars import as_real, whole

__all__ = ["SUDOKUS", "SudokuTask"]

Ints = npt.NDArray[np.int32]
Tokens = npt.NDArray[np.integer]


@dataclass(frozen=True)
class SudokuTask:
    """Boards of 4x4 or 9x9; see `Task`.

    blanks_range: the least and most blanks of the default difficulty.
    """

    name: str
    side: int
    blanks_range: tuple[int, int]
    levels: tuple[Blanks | None, ...]

    @property
    def alphabet(self) -> tuple[str, ...]:
        """A dot, zero or underscore is a blank."""
        return ("", ".0_", *(str(digit) for digit in range(1, self.side + 1)))

    @property
    def given(self) -> Cells:
        """Blanks and digits."""
        signs = f"a digit 1-{self.side} or a blank (. 0 _)"
        return Cells(range(1, self.side + 2), signs, "1 blank, 2.. digits")

    @property
    def solved(self) -> Cells:
        """Digits."""
        return Cells(range(2, self.side + 2), f"a digit 1-{self.side}", "2.. digits")

    @property
    def symmetries(self) -> Symmetries:
        """Of lines, bands and digits; see `generators.sudoku`."""
        return generators.sudoku(self.side)

    available = True
    num_puzzle_identifiers = None
    lessons = 0

    @property
    def seq_len(self) -> int:
        """Cells of a board, S."""
        return self.side**2

    @property
    def vocab_size(self) -> int:
        """Token ids 0..vocab_size-1: pad, blank and the digits."""
        return self.side + 2

    def puzzles(
        self,
        split: str,
        blanks: Blanks | None = None,
        count: int | None = None,
        seed: int = 0,
    ) -> PuzzleSet:
        """A fixed set of puzzles with exactly one solution each; no base is used twice.

        split: "train", "validation" or "test"; boards of different splits stay different under
        every symmetry. blanks: an exact number; a (least, most) range, in which each 9x9 puzzle
        gets a random number (at most what its base allows) and each 4x4 puzzle has its own;
        "minimal" for puzzles of which no clue can be removed; "hard" on 9x9 for minimal ones
        that need guesses (`trm_export.tasks.hard`); None for the task's default range. count: None
        gives all. The same arguments give the same puzzles.

        Raises UsageError for an unknown split, blanks out of range, or more puzzles than exist.
        """
        bases, (least, most) = self._bases(split, blanks), self._range(blanks)
        fits = bases.minimal if isinstance(blanks, str) else _fitting(bases, least, most)
        available = int(fits.sum())
        wanted = available if count is None else whole(f"{self.name}: count", count)
        seed = whole(f"{self.name}: seed", seed, 0)
        chosen = "" if blanks is None else f" for blanks={blanks}"
        if not available:
            raise UsageError(f"{self.name} has no {split} puzzle{chosen}; choose other blanks.")
        if wanted > available:
            raise UsageError(
                f"{self.name} has {counted(available, f'{split} puzzle')}{chosen}; ask for that "
                f"many or fewer, or other blanks, got {wanted}."
            )
        rng = np.random.default_rng((seed, SPLITS.index(split), least, most))
        rows = rng.permutation(np.flatnonzero(fits))[:wanted]
        drawn = rng.integers(least, most, wanted, endpoint=True)
        return _cut(bases, rows, drawn, rng)

    def batches(
        self,
        batch_size: int,
        blanks: tuple[int, int] | None = None,
        seed: int = 0,
        split: str = "train",
        minimal_fraction: float = 0.0,
        hard_fraction: float = 0.0,
    ) -> Iterator[tuple[Ints, Ints]]:
        """Endless (inputs, labels), both (batch_size, S) int32, each row in a random symmetry.

        Blanks are drawn uniformly from the range `blanks`; a 9x9 base that allows fewer gives its
        minimal puzzle. A share `minimal_fraction` (0..1) of all rows are minimal puzzles,
        independent of the range, and a share `hard_fraction` need guesses, as many of every level
        of `trm_export.tasks.hard`. The same arguments give the same stream.
        """
        bases, (least, most) = self._bases(split), self._range(blanks)
        batch_size = whole(f"{self.name}: batch_size", batch_size)
        seed = whole(f"{self.name}: seed", seed, 0)
        shares = {"minimal_fraction": minimal_fraction, "hard_fraction": hard_fraction}
        for name, share in shares.items():
            number = as_real(share)
            if number is None or not 0 <= number <= 1:
                raise UsageError(f"{self.name}: {name} must be 0 to 1, got {shown(share)}.")
        fits = _fitting(bases, least, most)
        if not fits.any():
            raise UsageError(f"{self.name} has no {split} puzzles with {least} to {most} blanks.")
        stream = _stream(bases, (least, most), batch_size, minimal_fraction, seed)
        if not hard_fraction:
            return stream
        return _harder(stream, self._hard(split), hard_fraction, seed)

    def lesson(self, inputs: Ints, labels: Ints, number: int) -> Ints:
        """The labels, because this task has no lessons."""
        return labels

    def check(self, inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
        """Judge answers (N, S) by the rules and by the labels."""
        return sudoku_boards.check_answers(inputs, answers, labels)

    def draw(self, inputs: Tokens, answer: Tokens | None = None) -> list[Piece]:
        """One board with its boxes drawn in lines."""
        return sudoku_boards.draw(inputs, answer)

    def render(self, inputs: Tokens, answer: Tokens | None = None) -> str:
        """The same as text."""
        return sudoku_boards.render(inputs, answer)

    def blank_cells(self, inputs: Tokens) -> npt.NDArray[np.bool_]:
        """The cells without a clue."""
        return inputs == sudoku_boards.BLANK

    def fills(self, inputs: Tokens) -> Ints:
        """The blanks of each board."""
        return self.blank_cells(inputs).sum(axis=1, dtype=np.int32)

    def ambiguous(self, inputs: Tokens) -> npt.NDArray[np.bool_]:
        """The boards with two or more solutions."""
        several: npt.NDArray[np.bool_] = count_solutions(inputs) > 1
        return several

    def rules(self, inputs: Tokens, labels: Tokens | None) -> Iterable[Rule]:
        """No digit twice in a row, column or box, and the solution keeps the clues."""
        return sudoku_boards.sudoku_rules(inputs, labels)

    def _bases(self, split: str, blanks: Blanks | None = None) -> Bases:
        split_index(split)
        return self._hard(split).bases if blanks == "hard" else load_bases(self.side, split)

    def _hard(self, split: str) -> HardPuzzles:
        if self.side != 9:
            raise UsageError(f"{self.name} has no hard puzzles; use sudoku9.")
        return load_hard(split)

    def _range(self, blanks: Blanks | None) -> tuple[int, int]:
        """(least, most) blanks; both ends inside 1..S-1."""
        if blanks == "minimal" or blanks == "hard":
            return self.seq_len, self.seq_len  # more than any base allows: no clue is added
        given = self.blanks_range if blanks is None else blanks
        others = ", minimal or hard"
        return blanks_within(self.name, given, 1, self.seq_len - 1, others=others)


SUDOKUS = (
    SudokuTask("sudoku4", 4, (4, 12), (None,)),
    SudokuTask("sudoku9", 9, (30, 60), (30, 40, 45, 50, 55)),
)


def _fitting(bases: Bases, least: int, most: int) -> npt.NDArray[np.bool_]:
    """(N,) bool: bases that can give a puzzle with a number of blanks in the range."""
    return (bases.blanks >= least) & (bases.restorable | (bases.blanks <= most))


def _stream(
    bases: Bases, span: tuple[int, int], size: int, minimal_fraction: float, seed: int
) -> Iterator[tuple[Ints, Ints]]:
    """The generator behind `SudokuTask.batches`."""
    rng = np.random.default_rng((seed, *span))
    rows, levels, starts, ends = _levels(bases, span)
    minimal = np.flatnonzero(bases.minimal)
    while True:
        level = rng.integers(0, len(levels), size)
        width = ends[level] - starts[level]
        picked = rows[starts[level] + (rng.random(size) * width).astype(np.intp)]
        hard = rng.random(size) < minimal_fraction
        picked = np.where(hard, minimal[rng.integers(0, len(minimal), size)], picked)
        cut = _cut(bases, picked, np.where(hard, bases.solutions.shape[1], levels[level]), rng)
        assert cut.labels is not None
        yield cut.inputs, cut.labels


def _harder(
    stream: Iterator[tuple[Ints, Ints]], puzzles: HardPuzzles, fraction: float, seed: int
) -> Iterator[tuple[Ints, Ints]]:
    """The stream with that fraction of its rows replaced by puzzles, as many of every level."""
    rng = np.random.default_rng((seed, 9))
    levels = [rows for rows in puzzles.levels if len(rows)]
    joined, sizes = np.concatenate(levels), np.array([len(rows) for rows in levels])
    starts = np.cumsum(sizes) - sizes
    for inputs, labels in stream:
        replaced = np.flatnonzero(rng.random(len(inputs)) < fraction)
        level = rng.integers(0, len(levels), len(replaced))
        picked = (rng.random(len(replaced)) * sizes[level]).astype(np.intp)
        rows = joined[starts[level] + picked]
        cut = _cut(puzzles.bases, rows, np.full(len(rows), 81), rng)
        inputs[replaced], labels[replaced] = cut.inputs, cut.solutions
        yield inputs, labels


def _levels(bases: Bases, span: tuple[int, int]) -> tuple[npt.NDArray[np.intp], ...]:
    """Bases of each number of blanks: rows[starts[i]:ends[i]] serve levels[i] blanks."""
    fits = np.flatnonzero(_fitting(bases, *span))
    levels = np.arange(span[0], span[1] + 1)
    if bases.restorable:
        ends = np.full(len(levels), len(fits))
        return fits, levels, np.zeros_like(ends), ends
    rows = fits[np.argsort(bases.blanks[fits], kind="stable")]
    starts = np.searchsorted(bases.blanks[rows], levels, "left")
    ends = np.searchsorted(bases.blanks[rows], levels, "right")
    used = ends > starts
    return rows, levels[used], starts[used], ends[used]


def _cut(
    bases: Bases,
    rows: npt.NDArray[np.intp],
    blanks: npt.NDArray[np.integer],
    rng: np.random.Generator,
) -> PuzzleSet:
    """Puzzles from the named bases, each in a random symmetry.

    Restorable bases get (at most) so many blanks; the others have their own number.
    """
    solutions, shown = bases.solutions[rows], bases.clues[rows]
    most = (~shown).sum(axis=1, dtype=np.int32)
    count = np.minimum(blanks, most).astype(np.int32) if bases.restorable else most
    hidden = _lowest(rng, shown, count) if (count < most).any() else ~shown
    cells, tokens = random_symmetries(len(rows), round(solutions.shape[1] ** 0.5), rng)
    labels = apply(solutions, cells, tokens)
    inputs = apply(np.where(hidden, np.uint8(1), solutions), cells, tokens)
    return PuzzleSet(inputs, labels, count)


def _lowest(
    rng: np.random.Generator, shown: npt.NDArray[np.bool_], blanks: Ints
) -> npt.NDArray[np.bool_]:
    """(N, S) bool: `blanks` random cells of each row, none of them shown."""
    cells = shown.shape[1]
    keys = rng.integers(0, 1 << 23, shown.shape, np.uint32) << 8
    keys |= np.arange(cells, dtype=np.uint32)  # no two keys of a row are equal
    keys[shown] = np.iinfo(np.uint32).max
    last = np.sort(keys, axis=1)[np.arange(len(keys)), blanks - 1]
    hidden: npt.NDArray[np.bool_] = keys <= last[:, None]
    return hidden
