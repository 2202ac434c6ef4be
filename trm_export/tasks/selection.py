"""Select the puzzles of a job: the caller's, from a file or from memory, or shipped ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from trm_export.errors import RejectedInputError, UsageError, reason_of
from trm_export.tasks import TaskDescription, find_task, get_task, random_rows, read_puzzles
from trm_export.tasks.arc_files import arc_puzzles
from trm_export.tasks.read_arrays import checked_arrays, puzzle_set
from trm_export.tasks.task import Blanks, Boards, PuzzleSet, Task, blanks_span
from trm_export.tasks.tokens import TokenBoards
from trm_runtime.arc_json import has_puzzles
from trm_runtime.errors import reading
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer

Array = np.ndarray[Any, Any]
PuzzleSource: TypeAlias = (
    str | os.PathLike[str] | PuzzleSet | Array | Sequence[Any] | tuple[Array, Array | None]
)
"""A file or folder, a `PuzzleSet`, tokens (N, S), or a pair of these and their solutions (N, S)."""
HARD = "hard"
COUNT = 200
"""How many puzzles are compared at most, unless another number is given."""


class PuzzleTaker(TaskDescription, Protocol):
    """What puzzles must fit: the contract of a model, or the adapted model."""

    @property
    def num_puzzle_identifiers(self) -> int | None:
        """How many identifiers it has; None without them."""
        ...


def refuse_puzzles(
    puzzles: PuzzleSource | None,
    task: str | None,
    blanks: Blanks | str | None,
    own: str = "--puzzles",
) -> None:
    """Checks this choice as far as possible without the model, before a framework is loaded.

    `own` is the option or argument for the caller's puzzles. Raises UsageError,
    RejectedInputError.
    """
    if task is not None:
        get_task(task)
    if blanks is not None:
        as_blanks(blanks)
    puzzles, blanks = read_choice(puzzles, blanks)
    if puzzles is None:
        return
    if isinstance(puzzles, tuple) and len(puzzles) != 2:
        raise UsageError(
            "puzzles: expected tokens (N, S), or a pair of these and their solutions, got a tuple "
            f"of {len(puzzles)}."
        )
    if isinstance(puzzles, PuzzleSet) and not len(puzzles):
        raise UsageError("puzzles: expected at least one row, got a PuzzleSet without rows.")
    if blanks is not None:
        raise UsageError(f"--blanks selects shipped puzzles; drop it or {own}.")
    file = puzzle_file(puzzles)
    with reading(file):
        if file is not None and not file.exists():
            raise RejectedInputError(f"{file}: no such file or folder of puzzles; check its name.")


def read_choice(
    puzzles: PuzzleSource | None, blanks: Blanks | str | None
) -> tuple[PuzzleSource | None, Blanks | str | None]:
    """The choice with `hard` moved from the puzzles to the blanks, unless puzzles have that name.

    It means the shipped puzzles that need guesses.
    """
    named = isinstance(puzzles, str | Path) and str(puzzles) == HARD
    word = named and blanks is None and not (Path(HARD).is_file() or has_puzzles(Path(HARD)))
    return (None, HARD) if word else (puzzles, blanks)


def puzzle_file(puzzles: PuzzleSource | None) -> Path | None:
    """The path of puzzles that are in a file or folder."""
    return Path(puzzles) if isinstance(puzzles, str | os.PathLike) else None


def select_puzzles(
    contract: PuzzleTaker,
    puzzles: PuzzleSource | None,
    name: str | None,
    blanks: Blanks | str | None,
    count: int,
    split: str = "test",
) -> PuzzleSet:
    """At most `count` puzzles: the caller's, or shipped ones of the named or the model's task.

    `split` is that of an official data-set folder, and of the shipped puzzles. A model of no known
    task reads token ids, and gets random rows, which say that they are no puzzles. Where a model
    with several identifiers is asked under 0 alone, the kind of the puzzles says so.

    Raises UsageError for a task of another size than the model.
    """
    found = _selected(contract, puzzles, name, blanks, count, split)
    return found.asked_of(contract.num_puzzle_identifiers)


def _selected(
    contract: PuzzleTaker,
    puzzles: PuzzleSource | None,
    name: str | None,
    blanks: Blanks | str | None,
    count: int,
    split: str,
) -> PuzzleSet:
    boards = boards_of(contract, name)
    task = None if isinstance(boards, TokenBoards) else boards
    puzzles, blanks = read_choice(puzzles, blanks)
    file = puzzle_file(puzzles)
    if file is not None:
        arc = arc_puzzles(file, boards, count, contract.num_puzzle_identifiers)
        if arc is not None:
            return arc
        return read_puzzles(file, boards, split=split if file.is_dir() else None, limit=count)
    if puzzles is not None:
        return in_memory(puzzles, boards, count)
    if task is None and blanks is not None:
        raise UsageError("No shipped puzzles fit this model; drop --blanks.")
    if task is None:
        return random_rows(contract.vocab_size, contract.seq_len, count, contract.alphabet)
    shipped = shipped_puzzles(task, blanks, count, split)
    return shipped.without_foreign(task, contract.num_puzzle_identifiers)


def boards_of(model: PuzzleTaker, name: str | None = None) -> Task | TokenBoards:
    """The named task, or that of the model, else the model's own token ids."""
    if name is not None:
        return fitting_task(name, model)
    return find_task(model) or TokenBoards.of(model)


def fitting_task(name: str, model: TaskDescription) -> Task:
    """The named task; UsageError if its boards or tokens are not those of the model."""
    task = get_task(name)
    own, wanted = (task.seq_len, task.vocab_size), (model.seq_len, model.vocab_size)
    if own != wanted:
        raise UsageError(
            f"{name} has boards of {own[0]} cells and {own[1]} token ids, but the model "
            f"{wanted[0]} and {wanted[1]}; drop --task to use the model's own token ids."
        )
    return task


def in_memory(puzzles: PuzzleSource, task: Boards | None, count: int | None = None) -> PuzzleSet:
    """Puzzles of arrays, every row checked by the rules of the task; a `PuzzleSet` as it is.

    Raises RejectedInputError naming the first bad rows.
    """
    if isinstance(puzzles, PuzzleSet):
        return _first(puzzles, count)
    inputs, labels = puzzles if isinstance(puzzles, tuple) else (puzzles, None)
    tokens, solutions = _array(inputs), None if labels is None else _array(labels)
    if task is None:  # the model checks them when it is called
        return _first(PuzzleSet(tokens, solutions, np.zeros(len(tokens), np.int32)), count)
    _, tokens, solutions = checked_arrays("The array of puzzles", tokens, solutions, (task,), count)
    return puzzle_set(task, tokens, solutions)


def _array(rows: Any) -> Array:
    try:
        return np.asarray(rows)
    except ValueError as error:
        raise RejectedInputError(
            f"The rows of puzzles have different lengths: {reason_of(error)}."
        ) from error


def _first(puzzles: PuzzleSet, count: int | None) -> PuzzleSet:
    columns = ("inputs", "labels", "blanks", "identifiers")
    held = {name: getattr(puzzles, name) for name in columns}
    return replace(puzzles, **{name: a[:count] for name, a in held.items() if a is not None})


def shipped_puzzles(
    task: Task, blanks: Blanks | str | None, count: int, split: str = "test"
) -> PuzzleSet:
    """Puzzles of a split with these blanks; by default a mix from easy to hard."""
    if blanks is not None:
        return task.puzzles(split, as_blanks(blanks), count)
    shares = [len(part) for part in np.array_split(np.arange(count), len(task.levels))]
    sets = [task.puzzles(split, b, n) for b, n in zip(task.levels, shares, strict=True) if n]
    if len(sets) == 1:
        return sets[0]
    return PuzzleSet(
        np.concatenate([part.inputs for part in sets]),
        np.concatenate([part.solutions for part in sets]),
        np.concatenate([part.blanks for part in sets]),
    )


def as_blanks(value: Blanks | str) -> Blanks:
    """A number of blanks, a range, `minimal` or `hard`, of a text too; UsageError for another."""
    if not isinstance(value, str):
        number, span = as_integer(value), blanks_span(value)
        if span is None:
            raise UsageError(
                "--blanks must be a number, a (least, most) range, minimal or hard, got "
                f"{shown(value)}."
            )
        return span if number is None else number
    if value == "minimal":
        return "minimal"
    if value == HARD:
        return "hard"
    if not value.isdecimal():
        raise UsageError(f"--blanks must be a number, minimal or hard, got {value}.")
    return int(value)
