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
from trm_runtime.errors import RejectedInputError, reading
from trm_runtime.message_text import counted, first_line
from trm_runtime.puzzle_source import numbered_lines

Array = np.ndarray[Any, Any]

IDENTIFIERS = "identifiers.json"
ALPHABET = ("-", "|", *"0123456789")
_CHALLENGES, _SOLUTIONS = "challenges", "solutions"
_OFFICIAL = ("dataset.json", "*__inputs.npy")  # of official data sets, beside JSON of their own
_PARTS = ("train", "test")
_MEND = "mend it, or move it away"


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
    return not _missing(value)


def _missing(value: Any) -> str:
    """What a JSON value lacks of an ARC problem; "" for one."""
    if not isinstance(value, dict):
        return f"expected an object with the lists train and test, got {strict_json.kind(value)}"
    for name in _PARTS:
        if not isinstance(value.get(name), list):
            return f"{name} is no list" if name in value else f"the list {name} is missing"
    return ""


def is_arc(value: Any) -> bool:
    """Whether a JSON value is an ARC problem, or several by name."""
    several = isinstance(value, dict) and bool(value) and all(map(is_problem, value.values()))
    return is_problem(value) or several


def refuse_almost_arc(value: Any, name: str) -> None:
    """Raise RejectedInputError for a JSON value with ARC problems of which something is missing."""
    if isinstance(value, list) and any(map(_resembles, value)):
        raise RejectedInputError(
            f"{name}: a list of ARC problems, which have no names there; expected an object with "
            "each problem by its name."
        )
    if not isinstance(value, dict) or is_arc(value):
        return
    if any(map(_resembles, value.values())):
        found = {problem: _missing(one) for problem, one in value.items()}
        wrong = [f"ARC problem {problem}: {why}" for problem, why in found.items() if why]
        raise RejectedInputError(f"{name}: not every problem can be read:", wrong)
    if _resembles(value):
        raise RejectedInputError(f"{name}: an ARC problem, but {_missing(value)}.")


def _resembles(value: Any) -> bool:
    """Whether a JSON value has pairs of grids as an ARC problem has them."""
    parts = [value.get(name) for name in _PARTS] if isinstance(value, dict) else []
    pairs = [pair for part in parts if isinstance(part, list) for pair in part]
    return any(isinstance(pair, dict) and isinstance(pair.get("input"), list) for pair in pairs)


def read_arc(source: str | Path) -> ArcQuestions | None:
    """The questions of a JSON file or a folder of them; None if it is no ARC JSON.

    Raises RejectedInputError for grids and names that are wrong.
    """
    path = Path(source)
    with reading(path):
        problems = _problems(path)
    if problems is None:
        return None
    questions = tuple(_questions(path, problems))
    if not questions:
        raise RejectedInputError(f"{path}: has no ARC problem with a test pair.")
    known = _names_beside(path)
    return ArcQuestions(questions, None if known is None else _identifiers(path, questions, known))


def has_puzzles(folder: Path) -> bool:
    """Whether a folder is one of an official data set, or has a file of ARC JSON."""
    return _is_official(folder) or any(map(_has_arc, folder.glob("*.json")))


def _has_arc(file: Path) -> bool:
    try:
        return is_arc(_value(file))
    except (ValueError, RejectedInputError):
        return False


def _is_official(folder: Path) -> bool:
    places = (place for kind in _OFFICIAL for place in (kind, f"*/{kind}"))
    return any(any(folder.glob(place)) for place in places)


def _names_beside(path: Path) -> Sequence[str] | None:
    """The names of an `identifiers.json` beside a file or in a folder, or above it."""
    folder = path if path.is_dir() else path.parent
    files = (place / IDENTIFIERS for place in (folder, folder.parent))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    names = _required(file)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RejectedInputError(f"{file}: expected a list of the names of the problems.")
    return names


def _problems(path: Path) -> Mapping[str, Any] | None:
    if path.is_dir():
        return _in_folder(path)
    try:
        value = _value(path) if path.is_file() else None
    except ValueError:  # such as a board a line, or JSON lines
        return None
    if not is_arc(value):
        return None
    return {path.stem: value} if is_problem(value) else value


def _in_folder(path: Path) -> Mapping[str, Any] | None:
    """The problems of a folder, one a file; None for that of an official data set."""
    files = sorted(file for file in path.glob("*.json") if file.name != IDENTIFIERS)
    if not files or _is_official(path):
        return None
    found, wrong = dict[str, Any](), list[str]()
    for file in files:
        try:
            found[file.stem] = _value(file)
            why = _missing(found[file.stem])
            if why and is_arc(found[file.stem]):
                why = "has several problems; give this file itself"
        except ValueError as error:
            why = f"not valid JSON: {first_line(error)}"
        if why:
            wrong.append(f"{file.name}: {why}")
    if wrong:
        raise RejectedInputError(f"{path}: expected one ARC problem in each .json file:", wrong)
    return found


def _value(path: Path) -> Any:
    """The JSON value of a file; ValueError if it has none."""
    lines = numbered_lines(str(path), str(path))
    first = next((line for _, line in lines if line.strip()), "")
    if first.lstrip()[:1] not in ("{", "["):
        raise ValueError("it begins with neither { nor [")
    return strict_json.parse("\n".join([first, *(line for _, line in lines)]))


def _required(path: Path) -> Any:
    """The JSON value of a file; RejectedInputError if it has none."""
    try:
        return _value(path)
    except ValueError as error:
        raise RejectedInputError(
            f"{path}: not valid JSON: {first_line(error)}; {_MEND}."
        ) from error


def _solutions(path: Path, problems: Mapping[str, Any]) -> Mapping[str, list[Any]]:
    """The solutions in a file beside challenges: a list of grids by the name of the problem."""
    value = _required(path)
    if not isinstance(value, dict):
        kind = strict_json.kind(value)
        raise RejectedInputError(
            f"{path}: expected an object with the solutions of each problem by its name, got a "
            f"{kind}; {_MEND}."
        )
    wrong = [
        f"ARC problem {name}: {why}"
        for name, problem in problems.items()
        if not _has_outputs(problem) and (why := _unusable(value.get(name), len(problem["test"])))
    ]
    if wrong:
        raise RejectedInputError(f"{path}: does not fit the problems; {_MEND}:", wrong)
    return value


def _has_outputs(problem: Any) -> bool:
    """Whether a problem has its solutions itself."""
    return all(isinstance(pair, dict) and pair.get("output") for pair in problem["test"])


def _unusable(grids: Any, wanted: int) -> str:
    """What is wrong with the solutions of a problem with so many test pairs, if anything."""
    if grids is None:
        return "has no solutions"
    if not isinstance(grids, list):
        return f"expected a list of grids, got {strict_json.kind(grids)}"
    if len(grids) < wanted:
        return f"has no solution of test pair {len(grids) + 1}"
    return f"has {len(grids)} grids for {counted(wanted, 'test pair')}" * (len(grids) > wanted)


def _questions(path: Path, problems: Mapping[str, Any]) -> Iterator[ArcQuestion]:
    beside = path.with_name(path.name.replace(_CHALLENGES, _SOLUTIONS))
    there = beside.name != path.name and beside.is_file()
    solutions = _solutions(beside, problems) if there else {}
    for name, problem in problems.items():
        for number, pair in enumerate(problem["test"]):
            which = f"ARC problem {name}, test pair {number + 1}"
            if not isinstance(pair, dict) or "input" not in pair:
                raise RejectedInputError(f"{path}: {which}: expected an object with an input grid.")
            grid, solution = checked_grid(pair["input"], f"{path}: {which}"), pair.get("output")
            if solution is not None:
                solution = checked_grid(solution, f"{path}: {which}, output")
            elif there:
                solution = checked_grid(solutions[name][number], f"{beside}: {which}")
            yield ArcQuestion(name, number, grid, solution)


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
