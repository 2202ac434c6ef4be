"""Check the token arrays of files and of the caller by the rules of a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trm_export.tasks.row_checks import find_bad_rows, reject
from trm_export.tasks.task import Boards, PuzzleSet
from trm_runtime.errors import RejectedInputError
from trm_runtime.puzzle_arrays import read_arrays, rows

__all__ = ["checked_arrays", "puzzle_set", "read_checked"]

Read = tuple[Boards, npt.NDArray[np.int32], npt.NDArray[np.int32] | None]


def read_checked(
    path: Path, split: str | None, tasks: Sequence[Boards], limit: int | None
) -> PuzzleSet:
    """The puzzles of an .npz or of a folder of an official data set; see `trm_runtime`."""
    arrays = read_arrays(path, split, limit)
    parts = [checked_arrays(a.name, a.inputs, a.labels, tasks, limit) for a in arrays]
    own = [a.identifiers for a in arrays if a.identifiers is not None]
    labels = [part[2] for part in parts if part[2] is not None]
    return puzzle_set(
        parts[0][0],
        np.concatenate([part[1] for part in parts]),
        np.concatenate(labels) if labels else None,
        np.concatenate(own) if len(own) == len(parts) else None,
    )


def puzzle_set(
    task: Boards,
    inputs: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32] | None,
    identifiers: npt.NDArray[np.int32] | None = None,
) -> PuzzleSet:
    """Checked tokens (N, S) as puzzles; padding of the labels does not count."""
    padded = 0 in task.solved.ids and task.alphabet is not None
    return PuzzleSet(inputs, labels, task.fills(inputs), identifiers=identifiers, padded=padded)


def checked_arrays(
    name: str,
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None,
    tasks: Sequence[Boards],
    limit: int | None,
) -> Read:
    """The task; shapes, dtypes and rows checked, the first `limit` rows copied as int32."""
    sizes = {task.seq_len: task for task in tasks}
    inputs, labels = rows(inputs), None if labels is None else rows(labels)
    problems = []
    if inputs.ndim != 2 or inputs.shape[1] not in sizes or not len(inputs):
        wanted = " or ".join(f"(rows, {size})" for size in sizes)
        problems.append(f"expected the shape {wanted} with at least one row, got {inputs.shape}")
    if labels is not None and labels.shape != inputs.shape:
        problems.append(f"labels: expected the shape {inputs.shape}, got {labels.shape}")
    for kind, array in (("inputs", inputs), ("labels", labels)):
        if array is not None and array.dtype.kind not in "iu":
            problems.append(f"{kind}: expected integer tokens, got the dtype {array.dtype}")
    if problems:
        raise RejectedInputError(f"{name}: not puzzles of {_names(tasks)}:", problems)
    task = sizes[inputs.shape[1]]
    puzzles = inputs[:limit]
    solutions = None if labels is None else labels[:limit]
    count, bad = find_bad_rows(task, puzzles, solutions)
    if bad:
        named = [f"{name} row {row}: {reason}" for row, reason in bad]
        raise reject(name, len(puzzles), count, named)
    tokens = None if solutions is None else solutions.astype(np.int32)
    return task, puzzles.astype(np.int32), tokens


def _names(tasks: Sequence[Boards]) -> str:
    return " or ".join(task.name for task in tasks)
