"""The interface of a task: puzzles with one solution each, their tokens, rules and drawings.

Token 0 pads in every task. Knows no particular task; `trm_export.tasks.TASKS` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from trm_export.errors import UsageError, refuse_unknown
from trm_runtime.alphabet import pads
from trm_runtime.contract import Symmetries
from trm_runtime.judging import exact, without_padding
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer, as_real

__all__ = [
    "RANDOM_ROWS",
    "SPLITS",
    "Blanks",
    "Boards",
    "Cells",
    "Checks",
    "Piece",
    "PuzzleSet",
    "Rule",
    "Task",
    "blanks_span",
    "blanks_within",
    "has_identifiers_of",
    "random_rows",
    "refuse_shares",
    "split_index",
    "text_of",
]

UNDER_0 = "all asked under identifier 0"
RANDOM_ROWS = "rows of random tokens, which are no puzzles"
SPLITS = ("train", "validation", "test")

Blanks = int | tuple[int, int] | Literal["minimal", "hard"]
Ints = npt.NDArray[np.int32]
Tokens = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Rule = tuple[Any, Callable[[int], str]]  # (N,) bool rows that break it, the problem of a row


def blanks_span(blanks: Any) -> tuple[int, int] | None:
    """(least, most) of a number or of a pair of numbers; None for anything else."""
    pair = blanks if isinstance(blanks, tuple | list) else (blanks, blanks)
    found = [number for one in pair if (number := as_integer(one)) is not None]
    return (found[0], found[1]) if len(found) == len(pair) == 2 else None


def blanks_within(
    name: str, blanks: Any, least: int, most: int, number: str = "a number", others: str = ""
) -> tuple[int, int]:
    """(least, most) of the blanks of a task of that name; UsageError for those out of its range."""
    span = blanks_span(blanks)
    if span is None or not least <= span[0] <= span[1] <= most:
        raise UsageError(
            f"{name}: blanks must be {number} or a (least, most) range within {least} to "
            f"{most}{others}, got {blanks!r}."
        )
    return span


@dataclass(frozen=True)
class PuzzleSet:
    """Puzzles with their solutions, row by row.

    inputs: (N, S) int32 tokens. labels: (N, S) int32 tokens of the solutions, or None where a
    file has none. blanks: (N,) int32 cells that the solution fills: the difficulty. kind: the kind
    of rows, in words. identifiers: (N,) int32 puzzle identifiers, where the task has them.
    padded: the labels pad with 0 around an answer, and these cells do not count.
    """

    inputs: Ints
    labels: Ints | None
    blanks: Ints
    kind: str = "puzzles"
    identifiers: Ints | None = None
    padded: bool = False

    @staticmethod
    def of_tokens(tokens: Mapping[str, Any]) -> PuzzleSet:
        """Puzzles of recorded inputs of a model, by name, without solutions."""
        arrays = {name: np.asarray(rows, np.int32) for name, rows in tokens.items()}
        blanks = np.zeros(len(arrays["inputs"]), np.int32)
        identifiers = arrays.get("puzzle_identifiers")
        return PuzzleSet(arrays["inputs"], None, blanks, identifiers=identifiers)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def solutions(self) -> Ints:
        """The labels (N, S) int32; UsageError for puzzles without solutions."""
        if self.labels is None:
            raise UsageError("These puzzles have no solutions to compare with; add the solutions.")
        return self.labels

    @property
    def targets(self) -> Ints | None:
        """The labels with UNJUDGED in cells that do not count; None without labels."""
        if self.labels is None or not self.padded:
            return self.labels
        return without_padding(self.labels)

    def exact(self, answers: Tokens, rows: slice | Tokens = slice(None)) -> Bools:
        """(..., n) bool: which answers (..., n, S) to these rows are right, padding left out.

        Raises UsageError where the puzzles came without solutions.
        """
        labels = self.solutions[rows]
        return exact(answers, without_padding(labels) if self.padded else labels)

    def feeds(self, num_puzzle_identifiers: int | None) -> dict[str, Ints]:
        """The inputs of a model with so many puzzle identifiers (None: without).

        Puzzles without identifiers get identifier 0. `trm_runtime` refuses those that the model
        does not have.
        """
        feeds = {"inputs": self.inputs}
        if num_puzzle_identifiers is not None:
            own = np.zeros(len(self), np.int32) if self.identifiers is None else self.identifiers
            feeds["puzzle_identifiers"] = own
        return feeds

    def asked_of(self, num_puzzle_identifiers: int | None) -> PuzzleSet:
        """The same puzzles; `kind` says so if a model with identifiers is asked under 0 alone."""
        if (num_puzzle_identifiers or 0) < 2:
            return self
        if self.identifiers is not None and self.identifiers.any():
            return self
        return replace(self, kind=f"{self.kind}, {UNDER_0}")

    def without_foreign(self, task: Boards, num_puzzle_identifiers: int | None) -> PuzzleSet:
        """Without the identifiers of the task if a model with so many has others."""
        if self.identifiers is None or has_identifiers_of(task, num_puzzle_identifiers):
            return self
        return replace(self, identifiers=None)


@dataclass(frozen=True)
class Checks:
    """Verdicts on a batch of answers, one a row.

    exact: (N,) bool, every cell equals the label, padding left out. valid: (N,) bool, the answer
    obeys the rules and keeps what the puzzle gives. cell_accuracy: (N,) float64 share of the blank
    cells that equal the label (1.0 where there is no blank).
    """

    exact: Bools
    valid: Bools
    cell_accuracy: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """The tokens that a puzzle or a solution is made of.

    ids: consecutive tokens. signs, tokens: a description of them for text files and for arrays.
    """

    ids: range
    signs: str
    tokens: str


@dataclass(frozen=True)
class Piece:
    """Part of a drawn board.

    text: as a terminal shows it. cell: the cell that it shows, None for what is between cells.
    colour: of the cell, as `#rrggbb`, where the board has colours.
    """

    text: str
    cell: int | None = None
    colour: str | None = None


class Boards(Protocol):
    """How boards are read, judged and drawn."""

    @property
    def name(self) -> str:
        """The name for `get_task`."""
        ...

    @property
    def alphabet(self) -> tuple[str, ...] | None:
        """For each token the characters that are read as it; None if they are not known."""
        ...

    @property
    def seq_len(self) -> int:
        """Cells of a board, S."""
        ...

    @property
    def num_puzzle_identifiers(self) -> int | None:
        """How many identifiers its puzzles need; None where they have none."""
        ...

    @property
    def given(self) -> Cells:
        """The tokens of a puzzle."""
        ...

    @property
    def solved(self) -> Cells:
        """The tokens of a solution."""
        ...

    def check(self, inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
        """Judge answers to puzzles; all three (N, S) tokens."""
        ...

    def draw(self, inputs: Tokens, answer: Tokens | None = None) -> list[Piece]:
        """One board of (S,) tokens for a terminal; an answer fills the blank cells."""
        ...

    def blank_cells(self, inputs: Tokens) -> Bools:
        """(N, S) tokens -> (N, S) bool: the cells that an answer may change."""
        ...

    def fills(self, inputs: Tokens) -> Ints:
        """(N, S) tokens -> (N,) int32: the cells that the solution of each fills."""
        ...

    def rules(self, inputs: Tokens, labels: Tokens | None) -> Iterable[Rule]:
        """The rules for rows of (N, S) tokens, besides those of `given` and `solved`."""
        ...

    def ambiguous(self, inputs: Tokens) -> Bools:
        """(N, S) tokens -> (N,) bool: the puzzles that are known to have several solutions."""
        ...


def has_identifiers_of(boards: Boards, num_puzzle_identifiers: int | None) -> bool:
    """Whether a model with so many identifiers has those of a task, and knows its puzzles by them.

    With more or fewer it was trained on other puzzles, or on other copies of them.
    """
    return num_puzzle_identifiers == boards.num_puzzle_identifiers


class Task(Boards, Protocol):
    """One kind of puzzle. `get_task` gives the known ones."""

    @property
    def alphabet(self) -> tuple[str, ...]:
        """For each token the characters that are read as it; the first is printed."""
        ...

    @property
    def side(self) -> int:
        """Cells along an edge of the board."""
        ...

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        ...

    @property
    def blanks_range(self) -> tuple[int, int]:
        """The least and most blanks of the default difficulty."""
        ...

    @property
    def levels(self) -> tuple[Blanks | None, ...]:
        """Difficulties from easy to hard that show what a model can do."""
        ...

    @property
    def symmetries(self) -> Symmetries:
        """Those that turn a puzzle and its answer into another puzzle and its answer."""
        ...

    @property
    def available(self) -> bool:
        """Whether its puzzles are installed; some need an optional package."""
        ...

    @property
    def lessons(self) -> int:
        """How many ACT steps of training have a goal of their own, 0 for none."""
        ...

    def puzzles(
        self, split: str, blanks: Blanks | None = None, count: int | None = None, seed: int = 0
    ) -> PuzzleSet:
        """A fixed set of puzzles with one solution each, none of them twice.

        split: "train", "validation" or "test"; boards of different splits stay different under
        every symmetry. blanks: the cells to fill, exactly so many or in a (least, most) range;
        None for the default range. The same arguments give the same puzzles.
        """
        ...

    def batches(
        self,
        batch_size: int,
        blanks: tuple[int, int] | None = None,
        seed: int = 0,
        split: str = "train",
        minimal_fraction: float = 0.0,
        hard_fraction: float = 0.0,
    ) -> Iterator[tuple[Ints, ...]]:
        """Endless (inputs, labels), both (batch_size, S) int32, for training.

        The fractions (0..1) are those of minimal and of hard puzzles, in a task that has them.

        A task with puzzle identifiers also gives those: (batch_size,) int32.
        """
        ...

    def lesson(self, inputs: Ints, labels: Ints, number: int) -> Ints:
        """The goal of ACT step `number`, from 1, instead of the labels; all (N, S) int32."""
        ...

    def render(self, inputs: Tokens, answer: Tokens | None = None) -> str:
        """The text of `draw`, no newline at the end."""
        ...


def refuse_shares(task: str, board: str, **shares: float) -> None:
    """UsageError for a share of minimal or hard puzzles in a task that has none."""
    for name, share in shares.items():
        if as_real(share) != 0:
            raise UsageError(
                f"{task}: {name} must be 0, got {shown(share)}, because a {board} has no "
                f"{name.partition('_')[0]} form."
            )


def random_rows(
    vocab_size: int, seq_len: int, count: int, alphabet: Sequence[str] | None = None
) -> PuzzleSet:
    """Tokens (count, S) drawn evenly, without solutions; always the same.

    They are of 0..V-1, but for a 0 that pads by the alphabet.
    """
    least, rng = int(pads(alphabet)), np.random.default_rng(0)
    tokens = rng.integers(least, vocab_size, (count, seq_len), dtype=np.int32)
    return PuzzleSet(tokens, None, np.zeros(count, np.int32), kind=RANDOM_ROWS)


def text_of(pieces: Iterable[Piece]) -> str:
    """A drawn board without its colours."""
    return "".join(piece.text for piece in pieces)


def split_index(split: str) -> int:
    """The index of a split in `SPLITS`; UsageError for an unknown one."""
    refuse_unknown("split", split, SPLITS)
    return SPLITS.index(split)
