"""A golden: a recorded reference rollout, with which a device is compared without Keras.

For every puzzle it has the tokens, the reference's answer after each step until it halted, its
halting scores and the margins of the answer. For some puzzles, the *followed* ones, and for some
*refilled slots* (see `slots`) it has the complete carry and all outputs of every step, which are
compared value by value. Puzzles are split into chunks, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.display import Shown, Table, field_table, one_line
from trm_runtime.judging import exact
from trm_runtime.message_text import counted, rows_text
from trm_runtime.parity.drift import StepSizes, read_steps

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Chunk:
    """n puzzles of S cells over T steps, f of them followed."""

    first: int  # row of the first of them
    tokens: dict[str, Array]  # the model's inputs: (n, S) int32 and, maybe, more with n rows
    labels: Array | None  # (n, S) int32, UNJUDGED in cells that do not count
    cells: Array  # (T, n, S) int32 answer after each step, 0 after the last
    scores: Array  # (T, n) float32 halting score of each step, NaN after the last
    margins: Array  # (n, S) float32 logits between the answer's token and the next best
    steps: Array  # (n,) int32 step at which each stopped
    followed: Array  # (f,) int64 rows of this chunk
    states: dict[str, Array]  # (T, f, ...) carry and outputs after each step, by name

    __repr__ = one_line
    _repr_html_ = field_table

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def answers(self) -> Array:
        """(n, S) int32: of the step at which each stopped."""
        rows = np.arange(len(self))
        answers: Array = self.cells[self.steps - 1, rows]
        return answers


class ChunkSize(NamedTuple):
    """How many puzzles a chunk has, and how many of them are followed."""

    puzzles: int
    followed: int


@dataclass(frozen=True)
class RefilledSlots:
    """R slots that get new puzzles between steps."""

    numbers: Array  # (R,) int64
    puzzles: int  # number of puzzles, from the first, that the slots get in turn
    inputs: dict[str, Array]  # (T, R, ...) inputs of each step
    states: dict[str, Array]  # (T, R, ...) carry and outputs after each step, by name

    __repr__ = one_line
    _repr_html_ = field_table


@dataclass(frozen=True)
class GoldenOrigin:
    """The origin of a golden, in plain JSON types."""

    kind: str = "puzzles"  # the kind of rows
    task: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] | None = None  # differences of the reference from its own control

    __repr__ = one_line
    _repr_html_ = field_table

    @property
    def floor(self) -> tuple[StepSizes, ...]:
        """The free drift of the control; empty without one."""
        return () if self.control is None else read_steps(self.control["free"])


@dataclass(frozen=True, repr=False)
class Golden(Shown):
    """A complete recording; `chunks` may load each chunk at its use."""

    contract: StepContract  # of the reference
    about: GoldenOrigin
    sizes: tuple[ChunkSize, ...]  # of every chunk, without loading it
    chunks: Sequence[Chunk]
    refilled: RefilledSlots

    def __len__(self) -> int:
        return self.puzzles

    @property
    def summary(self) -> str:
        """The size of the recording and its model."""
        return (
            f"{rows_text(self.puzzles, self.about.kind)}, {self.followed} of them followed, "
            f"{counted(len(self.refilled.numbers), 'refilled slot')}, "
            f"{counted(self.contract.max_steps, 'step')} of {self.contract.model_name}"
        )

    def tables(self) -> tuple[Table, ...]:
        """Its origin."""
        facts = [(name, str(value)) for name, value in self.about.provenance.items()]
        return (Table(self.summary, [*facts, ("precision", self.contract.precision)]),)

    @property
    def puzzles(self) -> int:
        """N."""
        return sum(size.puzzles for size in self.sizes)

    @property
    def followed(self) -> int:
        """Number of followed puzzles."""
        return sum(size.followed for size in self.sizes)


def settled(contract: StepContract, answers: Array, steps: Array, labels: Array | None) -> Array:
    """(n,) bool: whether a puzzle is solved or, without labels, halts before the last step."""
    early: Array = steps < contract.max_steps
    return early if labels is None else exact(answers, labels)
