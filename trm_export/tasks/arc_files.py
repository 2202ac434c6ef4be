"""ARC JSON as puzzles of the host; `trm_runtime.arc_json` reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from trm_export.tasks.arc import ArcTask
from trm_export.tasks.read_arrays import puzzle_set
from trm_export.tasks.task import Boards, PuzzleSet, has_identifiers_of
from trm_export.tasks.tokens import TokenBoards
from trm_runtime.arc_json import ArcQuestions, read_arc, takes_arc

__all__ = ["arc_puzzles", "is_of_arc", "unsolved"]


def arc_puzzles(
    path: Path, boards: Boards, limit: int | None, known: int | None = None
) -> PuzzleSet | None:
    """The puzzles of ARC JSON; None for another file, or other boards.

    known: the identifiers of the model. A model that has those of the task knows its problems by
    name, without an `identifiers.json`.
    """
    found = _first(path, boards, limit)
    if found is None:
        return None
    names, own = [question.problem for question in found.questions], found.identifiers
    own = _own_identifiers(boards, names, known) if own is None else own
    chosen = puzzle_set(boards, found.inputs, found.labels)
    return replace(chosen, identifiers=own, padded=True)


def unsolved(path: Path, boards: Boards, limit: int) -> str:
    """Which of the first questions of ARC JSON has no solution, in words; "" if none lacks one."""
    found = _first(path, boards, limit)
    lacking = [one for one in found.questions if one.solution is None] if found else []
    if not lacking:
        return ""
    more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
    return f"ARC problem {lacking[0].problem}, test pair {lacking[0].number + 1}{more},"


def _first(path: Path, boards: Boards, limit: int | None) -> ArcQuestions | None:
    found = read_arc(path) if is_of_arc(boards) else None
    if found is None:
        return None
    own = None if found.identifiers is None else found.identifiers[:limit]
    return ArcQuestions(found.questions[:limit], own)


def is_of_arc(boards: Boards) -> bool:
    """Whether the boards are those of ARC."""
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
