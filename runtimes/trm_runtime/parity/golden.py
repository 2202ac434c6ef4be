"""A golden: a recorded reference rollout, which a device can be compared with without Keras.

Of every puzzle it holds the tokens, what the reference answered after each step until it halted,
its halting scores and how clear the answer was. Of some puzzles, the *followed* ones, and of some
*refilled slots* (see `slots`) it holds the whole carry and all outputs of every step: these are
compared value by value. Puzzles are cut into chunks, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.display import Shown, Table, field_table, one_line
from trm_runtime.judging import exact
from trm_runtime.parity.drift import StepSizes, read_steps

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Chunk:
    """n puzzles of S cells over T steps, f of them followed."""

    first: int  # row of the first of them
    tokens: dict[str, Array]  # the model's inputs: (n, S) int32 and, maybe, more with n rows
    labels: Array | None  # (n, S) int32, UNJUDGED where anything goes
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
        found: Array = self.cells[self.steps - 1, rows]
        return found


class ChunkSize(NamedTuple):
    """How many puzzles a chunk has, and how many of them are followed."""

    puzzles: int
    followed: int


@dataclass(frozen=True)
class RefilledSlots:
    """R slots that take up new puzzles in mid-flight."""

    numbers: Array  # (R,) int64
    puzzles: int  # the first so many puzzles are shown in turn
    inputs: dict[str, Array]  # (T, R, ...) what each step is shown
    states: dict[str, Array]  # (T, R, ...) carry and outputs after each step, by name

    __repr__ = one_line
    _repr_html_ = field_table


@dataclass(frozen=True)
class GoldenOrigin:
    """Where a golden comes from, in plain JSON types."""

    kind: str = "puzzles"  # what the rows are, in words
    task: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] | None = None  # how far the reference is from its own control

    __repr__ = one_line
    _repr_html_ = field_table

    @property
    def floor(self) -> tuple[StepSizes, ...]:
        """The free drift of the control; empty without one."""
        return () if self.control is None else read_steps(self.control["free"])


@dataclass(frozen=True, repr=False)
class Golden(Shown):
    """A whole recording; `chunks` may load each when it is asked for."""

    contract: StepContract  # of the reference
    about: GoldenOrigin
    sizes: tuple[ChunkSize, ...]  # of every chunk, without loading it
    chunks: Sequence[Chunk]
    refilled: RefilledSlots

    def __len__(self) -> int:
        return self.puzzles

    @property
    def summary(self) -> str:
        """What was recorded."""
        return (
            f"{self.puzzles} {self.about.kind}, {self.followed} of them followed, "
            f"{len(self.refilled.numbers)} refilled slots, {self.contract.max_steps} steps of "
            f"{self.contract.model_name}"
        )

    def tables(self) -> tuple[Table, ...]:
        """Where it comes from."""
        facts = [(name, str(value)) for name, value in self.about.provenance.items()]
        return (Table(self.summary, [*facts, ("precision", self.contract.precision)]),)

    @property
    def puzzles(self) -> int:
        """N."""
        return sum(size.puzzles for size in self.sizes)

    @property
    def followed(self) -> int:
        """How many of them are followed."""
        return sum(size.followed for size in self.sizes)


def settled(contract: StepContract, answers: Array, steps: Array, labels: Array | None) -> Array:
    """(n,) bool: the puzzle is solved or, without labels, halts before the last step."""
    early: Array = steps < contract.max_steps
    return early if labels is None else exact(answers, labels)
