"""Read the JSON of a report, and reject documents that `trm-export parity` would not write.

Its structure is that of the types in `trm_export.parity.document`: a dataclass there is a JSON
object with its fields here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np

from trm_export.errors import RejectedInputError, reason_of
from trm_export.parity.document import KIND, ReportDocument, Verdict
from trm_runtime.contract import HaltRule
from trm_runtime.parity import ParityResult, Rung
from trm_runtime.parity.decisions import Difference
from trm_runtime.parity.gaps import Place, Size, TensorDiff
from trm_runtime.regular_file import read_regular
from trm_runtime.strict_json import kind, parse

_SCALARS = {bool: "true or false", int: "a count", float: "a number", str: "a string"}
_UNBOUNDED = (Difference, Place, Size, TensorDiff)  # their numbers may be infinite, in JSON null
_PAGES = (".html", ".md")  # beside the document
_ADDED = {HaltRule: {"settled"}, Rung: {"needed"}}  # fields that older documents do not have
_LARGEST = {int: 2**63, float: 1e300}


def read_report(path: Path) -> dict[str, Any]:
    """The document of a report; RejectedInputError, listing the problems, for a damaged one."""
    if path.suffix.lower() in _PAGES and path.is_file():
        raise RejectedInputError(
            f"{path}: a page, not the document of a report; give {path.with_suffix('.json')}."
        )
    try:
        document = parse(read_regular(path))
    except OSError as error:
        raise RejectedInputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise RejectedInputError(f"{path}: not valid JSON: {reason_of(error)}.") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise RejectedInputError(
            f"{path}: not a parity report; `trm-export parity --report` writes one."
        )
    problems = list(_problems(document, ReportDocument, ""))
    problems = problems or list(_contradictions(document))
    if problems:
        raise RejectedInputError(f"{path}: a damaged parity report:", problems)
    return document


def _problems(value: Any, wanted: Any, at: str, nullable: bool = False) -> Iterator[str]:
    """Values that differ from the type; `nullable` numbers may be null."""
    outer, inner = get_origin(wanted), get_args(wanted)
    if value is None and (outer is UnionType or (nullable and wanted is float)):
        return
    if outer is UnionType:
        yield from _problems(value, inner[0], at, nullable)
    elif wanted in _SCALARS:
        if not _fits(value, wanted):
            yield f"{at}: expected {_SCALARS[wanted]}, got {kind(value)} {value!r:.40}"
    elif is_dataclass(wanted) or is_typeddict(wanted):
        yield from _of_fields(value, wanted, at)
    elif outer is np.ndarray:
        if _array(value) is None:
            yield f"{at}: expected lists of integers, all of the same length"
    elif outer in (dict, Mapping):
        yield from _expected(value, dict, at)
        for key, item in value.items() if isinstance(value, dict) else ():
            yield from _problems(item, inner[1], f"{at}.{key}", nullable)
    else:
        yield from _of_items(value, inner, at, nullable)


def _fits(value: Any, wanted: type) -> bool:
    if wanted is float:
        return type(value) in (int, float) and abs(value) < _LARGEST[float]
    if wanted is int:
        return type(value) is int and 0 <= value < _LARGEST[int]
    return type(value) is wanted


def _expected(value: Any, wanted: type, at: str) -> Iterator[str]:
    if not isinstance(value, wanted):
        expected = "an object" if wanted is dict else "a list"
        yield f"{at}: expected {expected}, got {kind(value)}"


def _of_fields(value: Any, wanted: Any, at: str) -> Iterator[str]:
    yield from _expected(value, dict, at)
    if not isinstance(value, dict):
        return
    hints = _hints(wanted)
    for name in hints:
        if name not in value and name in _required(wanted):
            yield f"{at}.{name}: missing".lstrip(".")
    for name, hint in hints.items():
        if name in value:
            yield from _problems(
                value[name], hint, f"{at}.{name}".lstrip("."), nullable=wanted in _UNBOUNDED
            )


@functools.cache
def _hints(wanted: Any) -> dict[str, Any]:
    """The type of each field."""
    hints = get_type_hints(wanted)
    return hints | get_type_hints(Verdict) if wanted is ParityResult else hints


@functools.cache
def _required(wanted: Any) -> frozenset[str]:
    """The fields that are always there; Python finds no NotRequired in an annotation of text."""
    hints = get_type_hints(wanted, include_extras=True)
    optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    optional |= _ADDED.get(wanted, set())
    return frozenset(getattr(wanted, "__required_keys__", _hints(wanted).keys())) - optional


def _of_items(value: Any, inner: Sequence[Any], at: str, nullable: bool) -> Iterator[str]:
    """Problems of a list, or of a tuple of fixed or of any length."""
    yield from _expected(value, list, at)
    if not isinstance(value, list):
        return
    if len(inner) == 2 and inner[1] is not ... and len(value) != 2:
        yield f"{at}: expected two numbers, got {len(value)}"
    for i, item in enumerate(value):
        yield from _problems(item, inner[0], f"{at}[{i}]", nullable)


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    try:
        found = np.array(value)
    except (ValueError, OverflowError):
        return None
    return found if isinstance(value, list) and found.dtype.kind == "i" else None


def _contradictions(document: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions between parts of a document whose types are right."""
    files = document["files"]
    if not files:
        yield "files: expected at least one"
    if document["passed"] != all(file["result"]["passed"] for file in files):
        yield "passed: contradicts the results"
    for number, file in enumerate(files):
        for problem in _of_result(file["result"]):
            yield f"files[{number}].result.{problem}"
        sure = file.get("confidence") or {}
        for name in ("file", "model"):
            if sure.get(name) and not sure[name]["calibration"]["puzzles"]:
                yield f"files[{number}].confidence.{name}.calibration.puzzles: expected 1 or more"


def _of_result(result: Mapping[str, Any]) -> Iterator[str]:
    if result["passed"] == any(rung["status"] == "failed" for rung in result["rungs"]):
        yield "passed: contradicts the rungs"
    free, forced, halting = result["free"], result["forced_steps"], result["halting"]
    if len(free) != len(forced) or len({tuple(s["tensors"]) for s in (*free, *forced)}) > 1:
        yield "forced_steps: expected the steps and tensors of free"
    if halting is not None:
        matrix, edges = halting["matrix"], halting["margin_edges"]
        if not matrix or any(len(row) != len(matrix) for row in matrix):
            yield "halting.matrix: expected as many columns as rows"
        if not 1 < len(edges) == len(halting["margins"]):
            yield "halting.margins: expected one for each of the margin_edges"
        if result["decisions"] is None:
            yield "decisions: missing beside halting"
    if result["accuracy"] is not None and not result["accuracy"]["n"]:
        yield "accuracy.n: expected at least 1 puzzle"
    if result["stories"] is not None:
        yield from _of_stories(result["stories"])


def _of_stories(stories: Mapping[str, Any]) -> Iterator[str]:
    shapes = {name: np.array(values).shape for name, values in stories.items()}
    board, steps = shapes["inputs"], shapes["reference"][:1]
    run = (*steps, *board)
    expected = {"rows": board[:1], "labels": board, "reference": run, "candidate": run}
    if len(board) != 2:
        yield "stories.inputs: expected a list of boards"
    for name, shape in expected.items():
        if shapes[name] != shape:
            yield f"stories.{name}: expected the shape {shape}, got {shapes[name]}"
