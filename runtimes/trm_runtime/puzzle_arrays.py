"""Token arrays in files: an `.npz`, or a folder of the official data sets.

An official folder has one folder a split ("train", "test"), and that has `dataset.json` and, for
each set it lists (usually only "all"), `<set>__inputs.npy`, `<set>__labels.npy`,
`<set>__puzzle_identifiers.npy` with one identifier a puzzle, and `<set>__puzzle_indices.npy` with
the first row of each puzzle, because a puzzle may have several rows. Nothing is unpickled, and the
arrays of a folder are memory-mapped, so that only the first `limit` rows are read.

Knows numpy; knows no model and no task: the tokens are checked by the caller.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime import strict_json
from trm_runtime.errors import RejectedInputError, reading, unreadable
from trm_runtime.message_text import first_line
from trm_runtime.npy import mapped_array, read_array
from trm_runtime.puzzle_names import PUZZLE_NAMES, SOLUTION_NAMES, named_so
from trm_runtime.regular_file import open_regular, read_regular
from trm_runtime.zip_members import DAMAGE, opened_archive

Array = np.ndarray[Any, Any]

IDENTIFIERS = "puzzle_identifiers"
_SUFFIX = ".npy"


@dataclass(frozen=True)
class PuzzleArrays:
    """The arrays of one set, as they are in the file, cut to the limit."""

    name: str  # for messages
    inputs: Array
    labels: Array | None
    identifiers: Array | None  # one a row


def read_arrays(
    path: str | os.PathLike[str], split: str | None = None, limit: int | None = None
) -> list[PuzzleArrays]:
    """The arrays of an .npz, or of every set of a folder; at least one, `limit` rows in all.

    split: the folder of a split, if `path` is the parent of it.

    Raises RejectedInputError for files that are damaged, and for arrays of different lengths.
    """
    path = Path(path)
    with reading(path):
        return _folder(path, split, limit) if path.is_dir() else [_npz(path, limit)]


def _npz(path: Path, limit: int | None) -> PuzzleArrays:
    with reading(path):
        file = open_regular(path)
    try:
        with file, opened_archive(file) as archive:
            members = [name for name in archive.namelist() if name.endswith(_SUFFIX)]
            names = [name[: -len(_SUFFIX)] for name in members]
            wanted = (
                next(iter(named_so(names, PUZZLE_NAMES)), None),
                next(iter(named_so(names, SOLUTION_NAMES)), None),
                next((name for name in (IDENTIFIERS, "identifiers") if name in names), None),
            )
            arrays = [read_array(archive, name + _SUFFIX) if name else None for name in wanted]
    except (*DAMAGE, OSError) as error:
        raise RejectedInputError(
            f"{path.name}: not a readable .npz file: {first_line(error)}."
        ) from error
    if arrays[0] is None:
        listed = ", ".join(names) or "nothing"
        raise RejectedInputError(f"{path.name}: expected inputs (and labels), got {listed}.")
    return _checked(f"{path.name} inputs", arrays[0], arrays[1], arrays[2], limit)


def _folder(path: Path, split: str | None, limit: int | None) -> list[PuzzleArrays]:
    folder = path if split is None or (path / "dataset.json").is_file() else path / split
    facts = _dataset_facts(folder, path)
    parts: list[PuzzleArrays] = []
    for name in facts["sets"]:
        left = None if limit is None else limit - sum(len(part.inputs) for part in parts)
        if left is None or left > 0:
            parts.append(_set(folder, name, facts["seq_len"], left))
    return parts


def _set(folder: Path, name: str, seq_len: int, limit: int | None) -> PuzzleArrays:
    inputs, labels = (_map(folder / f"{name}__{kind}.npy") for kind in ("inputs", "labels"))
    if inputs.ndim == 2 and inputs.shape[1] != seq_len:
        raise RejectedInputError(
            f"{folder.name}/dataset.json: has seq_len {seq_len}, "
            f"but {name}__inputs.npy has rows of {inputs.shape[1]} tokens."
        )
    file = folder / f"{name}__{IDENTIFIERS}.npy"
    own = _each_row(folder, name, len(inputs)) if file.exists() else None
    return _checked(f"{name}__inputs.npy", inputs, labels, own, limit)


def _each_row(folder: Path, name: str, rows: int) -> Array:
    """The identifier of the puzzle of each row: (rows,) integers."""
    identifiers = _map(folder / f"{name}__{IDENTIFIERS}.npy")
    file = folder / f"{name}__puzzle_indices.npy"
    if not file.exists():
        return identifiers
    starts = np.asarray(_map(file))
    fits = starts.ndim == 1 and starts.dtype.kind in "iu" and len(starts) == len(identifiers) + 1
    if not fits or starts[0] != 0 or starts[-1] != rows or (np.diff(starts) < 0).any():
        raise RejectedInputError(
            f"{file}: expected the first row of each of {len(identifiers)} puzzles, ascending from "
            f"0, and at the end {rows}; copy the folder again."
        )
    return np.repeat(identifiers, np.diff(starts))


def _checked(
    name: str, inputs: Array, labels: Array | None, identifiers: Array | None, limit: int | None
) -> PuzzleArrays:
    """Boards as rows of cells; identifiers are integers, one a row."""
    if identifiers is not None:
        shape, wanted = identifiers.shape, inputs.shape[:1]
        if shape != wanted or identifiers.dtype.kind not in "iu":
            raise RejectedInputError(
                f"{name}: expected the puzzle identifiers as integers of the shape {wanted}, got "
                f"{identifiers.dtype} of the shape {shape}."
            )
        identifiers = np.asarray(identifiers[:limit])
    return PuzzleArrays(
        name, rows(inputs, limit), None if labels is None else rows(labels, limit), identifiers
    )


def rows(boards: Array, limit: int | None = None) -> Array:
    """The first boards (N, rows, columns) as (N, cells); an array of other axes as it is."""
    boards = boards[:limit] if boards.ndim else boards
    return boards.reshape(len(boards), -1) if boards.ndim > 2 and len(boards) else boards


def _dataset_facts(folder: Path, path: Path) -> dict[str, Any]:
    """`sets` and `seq_len` of dataset.json; the names of sets must be plain names.

    path: where other splits are, to name them in an error.
    """
    file = folder / "dataset.json"
    if not file.is_file():
        splits = sorted(p.parent.name for p in path.glob("*/dataset.json"))
        hint = f"; {path} has the splits {', '.join(splits)}: give the folder of one"
        raise RejectedInputError(f"{folder} has no dataset.json{hint if splits else ''}.")
    try:
        facts = strict_json.parse(read_regular(file).decode("utf-8-sig"))
    except OSError as error:
        raise unreadable(file, error) from error
    except ValueError as error:
        raise RejectedInputError(f"{file}: not valid JSON: {first_line(error)}.") from error
    sets = facts.get("sets") if isinstance(facts, dict) else None
    plain = isinstance(sets, list) and all(isinstance(s, str) and s.isidentifier() for s in sets)
    if not sets or not plain or not isinstance(facts.get("seq_len"), int):
        raise RejectedInputError(
            f"{file}: expected a list of names `sets` and an integer `seq_len`."
        )
    if len(set(sets)) < len(sets):
        raise RejectedInputError(f"{file}: has a set more than once.")
    return {"sets": sets, "seq_len": facts["seq_len"]}


def _map(path: Path) -> Array:
    try:
        with reading(path):
            return mapped_array(path)
    except ValueError as error:
        raise RejectedInputError(
            f"{path}: not a readable .npy file: {first_line(error)}."
        ) from error
