"""ARC JSON as puzzles of the host; `trm_runtime.arc_json` reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trm_export.tasks.arc import ArcTask
from trm_export.tasks.read_arrays import puzzle_set
from trm_export.tasks.task import Boards, PuzzleSet, has_identifiers_of
from trm_export.tasks.tokens import TokenBoards
from trm_runtime.arc_json import read_arc, takes_arc

__all__ = ["arc_puzzles"]


def arc_puzzles(
    path: Path, boards: Boards, limit: int | None, known: int | None = None
) -> PuzzleSet | None:
    """The puzzles of ARC JSON; None for another file, or other boards.

    known: the identifiers of the model. A model that has those of the task knows its problems by
    name, without an `identifiers.json`.
    """
    if not _fit(boards):
        return None
    found = read_arc(path)
    if found is None:
        return None
    names = [question.problem for question in found.questions][:limit]
    own = _own_identifiers(boards, names, known) if found.identifiers is None else found.identifiers
    labels = found.labels
    chosen = puzzle_set(boards, found.inputs[:limit], None if labels is None else labels[:limit])
    return PuzzleSet(
        chosen.inputs,
        chosen.labels,
        chosen.blanks,
        identifiers=None if own is None else own[:limit],
        padded=True,
    )


def _fit(boards: Boards) -> bool:
    if isinstance(boards, TokenBoards):
        return takes_arc(boards.seq_len, boards.vocab_size, boards.alphabet)
    return isinstance(boards, ArcTask)


def _own_identifiers(boards: Boards, names: list[str], known: int | None) -> np.ndarray | None:
    if not isinstance(boards, ArcTask) or not boards.available:
        return None
    if not has_identifiers_of(boards, known):
        return None
    numbers = {problem.name: number for number, problem in enumerate(boards.problems)}
    if not all(name in numbers for name in names):
        return None
    return np.array([boards.identifier(numbers[name]) for name in names], np.int32)
