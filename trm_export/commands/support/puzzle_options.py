"""Which puzzles a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trm_export.tasks import Blanks, PuzzleSet, Task
    from trm_runtime.contract import StepContract

BlanksOption = Annotated[
    str | None,
    typer.Option(
        help="Blanks of the shipped puzzles: a number, minimal, or (9x9 Sudoku) hard; in a maze "
        "the path cells."
    ),
]


def chosen_puzzles(
    contract: StepContract,
    file: Path | None,
    name: str | None,
    blanks: str | None,
    count: int,
    split: str = "test",
) -> PuzzleSet:
    """The puzzles that the options of a command name: a file's, or shipped ones.

    `split` is that of an official data-set folder, and of the shipped puzzles. A model of no known
    task gets random rows, which say that they are no puzzles.
    """
    from trm_export.errors import UsageError
    from trm_export.tasks import find_task, get_task, random_rows, read_puzzles

    task = find_task(contract) if name is None else get_task(name)
    if file is not None:
        return read_puzzles(file, task, split=split if file.is_dir() else None, limit=count)
    if task is None and blanks is not None:
        raise UsageError("No shipped puzzles fit this model; leave --blanks out.")
    if task is None:
        return random_rows(contract.vocab_size, contract.seq_len, count)
    return shipped_puzzles(task, blanks, count, split)


def refuse_words(
    file: Path | None, name: str | None, blanks: str | None, own: str = "--puzzles"
) -> None:
    """What is wrong with these options whatever the model is, told before Keras loads.

    `own` is what the command calls puzzles of one's own.
    """
    from trm_export.errors import RejectedInputError, UsageError
    from trm_export.tasks import get_task

    if name is not None:
        get_task(name)
    if blanks is not None:
        _blanks(blanks)
    if file is None:
        return
    if blanks is not None:
        raise UsageError(f"--blanks is for the shipped puzzles; leave it out with {own}.")
    if not file.exists():
        raise RejectedInputError(f"{file}: there is no such file or folder of puzzles")


def shipped_puzzles(task: Task, blanks: str | None, count: int, split: str = "test") -> PuzzleSet:
    """Puzzles of a split with these blanks; without a wish a mix from easy to hard."""
    import numpy as np

    from trm_export.tasks import PuzzleSet

    if blanks is not None:
        return task.puzzles(split, _blanks(blanks), count)
    shares = [len(part) for part in np.array_split(np.arange(count), len(task.levels))]
    sets = [task.puzzles(split, b, n) for b, n in zip(task.levels, shares, strict=True) if n]
    if len(sets) == 1:
        return sets[0]
    return PuzzleSet(
        np.concatenate([part.inputs for part in sets]),
        np.concatenate([part.solutions for part in sets]),
        np.concatenate([part.blanks for part in sets]),
    )


def _blanks(text: str) -> Blanks:
    from trm_export.errors import UsageError

    if text == "minimal":
        return "minimal"
    if text == "hard":
        return "hard"
    if not text.isdecimal():
        raise UsageError(f"--blanks {text}: expected a number of blanks, or minimal, or hard.")
    return int(text)
