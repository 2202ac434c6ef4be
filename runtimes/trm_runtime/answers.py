"""Write answers: a line a puzzle, or one JSON document, as `python -m trm_runtime` prints them."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, final

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.errors import UsageError
from trm_runtime.failures import unfinished
from trm_runtime.message_text import shown
from trm_runtime.scalars import check_flags
from trm_runtime.solution import UNKNOWN, Solution, StepEvent, finite_or_none

Array = np.ndarray[Any, Any]


def write(
    solution: Solution,
    target: str | os.PathLike[str] | TextIO,
    *,
    as_json: bool | None = None,
) -> None:
    """Write the answers of `solve` to a file, which is replaced if it exists, or to a stream.

    A line a puzzle: answer, steps, stop reason, q_halt, separated by tabs. An answer is text, or
    ids with spaces if the contract has no alphabet. With several tries three more: how many were
    begun, the steps of all, and which one gave the answer, from 0. With `abstain` one more: the
    confidence, and the answer is "unknown" where that is too low. `as_json`, by default for names
    that end in `.json`: one object with `model_name`, `precision` and, in `puzzles`, the same for
    each puzzle, its ids, and whether its given cells were kept; again a line a puzzle. There an
    unknown answer and its ids are null, and `reason` says why.

    Raises UsageError for a device or a pipe, for what is no Solution, and for a target that is
    neither a path nor a stream of text; OSError if the file cannot be written.
    """
    if not isinstance(solution, Solution):
        raise UsageError(f"solution: expected one of solve, got {shown(solution)}.")
    if not (isinstance(target, (str, os.PathLike)) or hasattr(target, "write")):
        raise UsageError(f"target: expected a path or a stream, got {shown(target)}.")
    check_flags("as_json", as_json=as_json)
    if as_json is None:
        as_json = not hasattr(target, "write") and str(target).endswith(".json")
    text = io.StringIO()
    stream = Stream(text, solution.contract, solution.puzzles, as_json=as_json)
    stream.finish(solution)
    stream.end()
    if isinstance(target, (str, os.PathLike)):
        replace_file(Path(target), text.getvalue())
        return
    try:
        target.write(text.getvalue())
    except TypeError as error:
        raise UsageError(f"target: expected a stream of text, got {shown(target)}.") from error


@final
class Stream:
    """Writes answers while they are found, as `write` does after all are.

    A line is written and flushed as soon as its puzzle and all before it are done.
    """

    def __init__(
        self,
        target: TextIO,
        contract: StepContract,
        puzzles: Array,
        *,
        as_json: bool,
    ) -> None:
        """`puzzles` are the (N, S) token ids of the inputs."""
        self._target, self._contract, self._puzzles = target, contract, puzzles
        self._as_json = as_json
        self._begun = False  # whether the document is
        self._first = True  # of the document
        self._next = 0  # first puzzle that is not written
        self._waiting: dict[int, str] = {}

    def go_on_with(self, puzzles: Array) -> None:
        """The (N, S) token ids of the next inputs, after `finish` with those before."""
        self._puzzles, self._next = puzzles, 0

    def __call__(self, event: StepEvent) -> None:
        """Takes the puzzles that are done with this step."""
        done = np.flatnonzero(event.finished)
        rows = event.rows[done]
        reasons = tuple(str(event.stop_reasons[index]) for index in done)
        found = event.solved or Solution(
            event.answers[done], event.steps[done], event.q_halt[done], event.q_continue[done],
            reasons, self._puzzles[rows], self._contract,
        )  # fmt: skip
        self._waiting.update(zip(rows.tolist(), self._lines(found)))
        if self._next in self._waiting:
            self._write()

    def finish(self, solution: Solution) -> None:
        """Writes the other puzzles."""
        left = range(self._next, len(solution))
        self._waiting.update(zip(left, list(self._lines(solution))[self._next :]))
        self._write()

    def end(self) -> None:
        """Writes the end of the document."""
        if self._as_json:
            self._target.write("]}\n")
            unfinished.clear()
            self._target.flush()

    def _write(self) -> None:
        if self._as_json and not self._begun:
            fields = {
                "model_name": self._contract.model_name,
                "precision": self._contract.precision,
            }
            self._target.write(f'{json.dumps(fields, ensure_ascii=False)[:-1]}, "puzzles": [\n')
            self._begun = True
            if self._target is sys.stdout:
                unfinished.append("], ")
        while self._next in self._waiting:
            comma = "" if self._first or not self._as_json else ","
            self._first = False
            self._target.write(f"{comma}{self._waiting.pop(self._next)}\n")
            self._next += 1
        self._target.flush()

    def _lines(self, solution: Solution) -> Iterator[str]:
        if self._as_json:
            return _documents(solution)
        return _with_confidence(_with_tries(_lines(solution), solution), solution)


def _lines(solution: Solution) -> Iterator[str]:
    for text, steps, reason, q_halt in zip(
        _answers(solution), solution.steps, solution.stop_reasons, solution.q_halt
    ):
        yield f"{text}\t{steps}\t{reason}\t{q_halt:.4f}"


def _with_tries(lines: Iterator[str], solution: Solution) -> Iterator[str]:
    for line, *about in zip(lines, *solution.about_tries.values()):
        yield "\t".join([line, *map(str, about)])


def _with_confidence(lines: Iterator[str], solution: Solution) -> Iterator[str]:
    if solution.confidence is None:
        return lines
    pairs = zip(lines, solution.confidence.tolist())
    return (f"{line}\t{confidence:.4f}" for line, confidence in pairs)


def _documents(solution: Solution) -> Iterator[str]:
    columns: dict[str, Any] = {
        "answer": _answers(solution),
        "ids": solution.answers.tolist(),
        "steps": solution.steps.tolist(),
        "stop_reason": solution.stop_reasons,
        "q_halt": [finite_or_none(q) for q in solution.q_halt.tolist()],
        "given_kept": solution.given_kept,
        **{key: values.tolist() for key, values in solution.about_tries.items()},
    }
    if solution.unknown is not None:
        columns.update(_withheld(columns, solution, solution.unknown.tolist()))
    for row in zip(*columns.values()):
        yield json.dumps(dict(zip(columns, row)), ensure_ascii=False)


def _withheld(
    columns: dict[str, Any], solution: Solution, unknown: list[bool]
) -> dict[str, list[Any]]:
    """The columns of answers without those that are unknown, and why these are."""
    confidence = np.asarray(solution.confidence).tolist()
    why = [f"the confidence {value:.7g} is below {solution.abstain}" for value in confidence]

    def shown(values: Any, hidden: bool) -> list[Any]:
        return [
            value if is_unknown is hidden else None for value, is_unknown in zip(values, unknown)
        ]

    answers = {key: shown(columns[key], hidden=False) for key in ("answer", "ids")}
    return {**answers, "confidence": confidence, "reason": shown(why, hidden=True)}


def _answers(solution: Solution) -> list[str]:
    if solution.contract.alphabet is not None:
        return solution.texts
    texts = [" ".join(map(str, ids)) for ids in solution.answers.tolist()]
    if solution.unknown is None:
        return texts
    return [UNKNOWN if hidden else text for text, hidden in zip(texts, solution.unknown)]


def refuse_place(path: Path) -> None:
    """Raise UsageError for a name that no file can get: in no folder, or that of a folder."""
    if path.is_dir():
        raise UsageError(f"{path}: a folder, but a file is written; add the name of a file.")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}; create it first.")
    _refuse_special(path)


def _refuse_special(path: Path) -> None:
    """Raise UsageError for what is there and no plain file, such as a device or a pipe."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: not a plain file, and is not replaced; choose another name.")


def replace_file(path: Path, text: str) -> None:
    """The file is the old one or the new one, even if this process is killed."""
    if path.is_dir():  # also ".", which has no name
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _refuse_special(path)
    target = Path(os.path.realpath(path))  # a link stays, and the file behind it is replaced
    new = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(target)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # the name may be too long for it, too
            new.unlink()
