"""Write answers: a line a puzzle, or one JSON document, as `python -m trm_runtime` prints them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from trm_runtime.solution import Solution, finite_or_none


def write(
    solution: Solution,
    target: str | os.PathLike[str] | TextIO,
    *,
    as_json: bool | None = None,
) -> None:
    """Write the answers of `solve` to a file, which is replaced if it exists, or to a stream.

    A line a puzzle: answer, steps, stop reason, q_halt, separated by tabs. An answer is text, or
    ids with spaces if the contract has no alphabet. `as_json`, by default for names that end in
    `.json`: one object with `model_name`, `precision` and, in `puzzles`, the same for each puzzle,
    its ids, and whether its given cells were kept.

    Raises OSError if the file cannot be written.
    """
    if as_json is None:
        as_json = not hasattr(target, "write") and str(target).endswith(".json")
    text = _document(solution) if as_json else "".join(f"{line}\n" for line in _lines(solution))
    if isinstance(target, (str, os.PathLike)):
        replace_file(Path(target), text)
    else:
        target.write(text)


def _lines(solution: Solution) -> Iterator[str]:
    for text, steps, reason, q_halt in zip(
        _answers(solution), solution.steps, solution.stop_reasons, solution.q_halt
    ):
        yield f"{text}\t{steps}\t{reason}\t{q_halt:.4f}"


def _document(solution: Solution) -> str:
    columns: dict[str, Any] = {
        "answer": _answers(solution),
        "ids": solution.answers.tolist(),
        "steps": solution.steps.tolist(),
        "stop_reason": solution.stop_reasons,
        "q_halt": [finite_or_none(q) for q in solution.q_halt.tolist()],
        "given_kept": solution.given_kept,
    }
    puzzles = [dict(zip(columns, row)) for row in zip(*columns.values())]
    contract = solution.contract
    fields = {"model_name": contract.model_name, "precision": contract.precision}
    return json.dumps({**fields, "puzzles": puzzles}, ensure_ascii=False) + "\n"


def _answers(solution: Solution) -> list[str]:
    if solution.contract.alphabet is not None:
        return solution.texts
    return [" ".join(map(str, ids)) for ids in solution.answers.tolist()]


def replace_file(path: Path, text: str) -> None:
    """The file is the old one or the new one, even if this process is killed."""
    new = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
