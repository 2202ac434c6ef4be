"""ARC problems as JSON; `arc_submission` writes the answers to them.

A file has one problem, `{"train": [...], "test": [...]}`, or several by name, as the challenges of
the competition have them; a folder has one problem a file. The solutions are the `output` of the
test pairs, or those of `..._solutions.json` beside `..._challenges.json`. A model knows a problem
by its puzzle identifier; `identifiers.json` of the official data set, beside the file or above it,
lists the names of the problems in the order of their identifiers.

Knows numpy; knows no engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime import strict_json
from trm_runtime.arc_grids import COLOURS, SIDE, Grid, checked_grid, encode
from trm_runtime.errors import RejectedInputError
from trm_runtime.puzzle_source import numbered_lines

Array = np.ndarray[Any, Any]

IDENTIFIERS = "identifiers.json"
ALPHABET = ("-", "|", *"0123456789")
_CHALLENGES, _SOLUTIONS = "challenges", "solutions"


@dataclass(frozen=True)
class ArcQuestion:
    """A grid whose transformed grid is asked for."""

    problem: str
    number: int  # of the test pair, from 0
    grid: Grid
    solution: Grid | None


@dataclass(frozen=True)
class ArcQuestions:
    """All questions of a file or folder, and the identifier of each where they are known."""

    questions: tuple[ArcQuestion, ...]
    identifiers: Array | None  # (N,) int32

    @property
    def inputs(self) -> Array:
        """(N, 900) int32 tokens."""
        return np.stack([encode(one.grid) for one in self.questions])

    @property
    def labels(self) -> Array | None:
        """(N, 900) int32 tokens of the solutions; None if one is missing."""
        grids = [one.solution for one in self.questions]
        known = [encode(grid) for grid in grids if grid is not None]
        return np.stack(known) if len(known) == len(grids) else None


def takes_arc(seq_len: int, vocab_size: int, alphabet: Sequence[str] | None) -> bool:
    """Whether the boards of a model are those of ARC."""
    same = (seq_len, vocab_size) == (SIDE * SIDE, COLOURS + 2)
    return same and (alphabet is None or tuple(alphabet) == ALPHABET)


def is_problem(value: Any) -> bool:
    """Whether a JSON value is one ARC problem."""
    return isinstance(value, dict) and all(
        isinstance(value.get(k), list) for k in ("train", "test")
    )


def is_arc(value: Any) -> bool:
    """Whether a JSON value is an ARC problem, or several by name."""
    several = isinstance(value, dict) and bool(value) and all(map(is_problem, value.values()))
    return is_problem(value) or several


def read_arc(source: str | Path) -> ArcQuestions | None:
    """The questions of a JSON file or a folder of them; None if it is no ARC JSON.

    Raises RejectedInputError for grids and names that are wrong.
    """
    path = Path(source)
    problems = _problems(path)
    if problems is None:
        return None
    beside = _solutions(path)
    questions = tuple(_questions(path, problems, beside))
    if not questions:
        raise RejectedInputError(f"{path}: has no ARC problem with a test pair.")
    known = _names_beside(path)
    return ArcQuestions(questions, None if known is None else _identifiers(path, questions, known))


def _names_beside(path: Path) -> Sequence[str] | None:
    """The names of an `identifiers.json` beside a file or in a folder, or above it."""
    folder = path if path.is_dir() else path.parent
    files = (place / IDENTIFIERS for place in (folder, folder.parent))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    names = _parsed(file)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RejectedInputError(f"{file}: expected a list of the names of the problems.")
    return names


def _problems(path: Path) -> Mapping[str, Any] | None:
    if path.is_dir():
        files = sorted(file for file in path.glob("*.json") if file.name != IDENTIFIERS)
        if (path / "dataset.json").exists():
            return None
        read = {file.stem: _parsed(file) for file in files}
        return read if read and all(map(is_problem, read.values())) else None
    value = _parsed(path)
    if not is_arc(value):
        return None
    return {path.stem: value} if is_problem(value) else value


def _parsed(path: Path) -> Any:
    """The JSON value of a file; None if it has none."""
    if not path.is_file():
        return None
    lines = numbered_lines(str(path), str(path))
    first = next((line for _, line in lines if line.strip()), "")
    if first.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return strict_json.parse("\n".join([first, *(line for _, line in lines)]))
    except ValueError:
        return None


def _solutions(path: Path) -> Mapping[str, Any]:
    """The solutions beside challenges: lists of grids by the name of the problem."""
    beside = path.with_name(path.name.replace(_CHALLENGES, _SOLUTIONS))
    value = _parsed(beside) if beside.name != path.name else None
    return value if isinstance(value, dict) else {}


def _questions(
    path: Path, problems: Mapping[str, Any], beside: Mapping[str, Any]
) -> Iterator[ArcQuestion]:
    for name, problem in problems.items():
        for number, pair in enumerate(problem["test"]):
            place = f"{path}: ARC problem {name}, test pair {number + 1}"
            if not isinstance(pair, dict) or "input" not in pair:
                raise RejectedInputError(f"{place}: expected an object with an input grid.")
            grids = beside.get(name)
            own = grids[number] if isinstance(grids, list) and number < len(grids) else None
            solution = pair.get("output", own)
            yield ArcQuestion(
                name,
                number,
                checked_grid(pair["input"], place),
                None if solution is None else checked_grid(solution, f"{place}, output"),
            )


def _identifiers(path: Path, questions: Iterable[ArcQuestion], names: Sequence[str]) -> Array:
    place = {name: number for number, name in reversed(list(enumerate(names)))}
    wanted = [one.problem for one in questions]
    missing = sorted({name for name in wanted if name not in place})
    if missing:
        raise RejectedInputError(
            f"{path}: {IDENTIFIERS} does not have these problems, so the model has not learnt "
            f"them; move {IDENTIFIERS} away to ask under identifier 0:",
            missing,
        )
    return np.array([place[name] for name in wanted], np.int32)
