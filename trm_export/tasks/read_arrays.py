"""Read arrays of tokens: `.npz` files and the folders of the official data sets.

An official folder has one folder a split ("train", "test"), and that has `dataset.json` and, for
each set it lists (usually only "all"), `<set>__inputs.npy`, `<set>__labels.npy` and index files
that are not needed here. Its tokens are the same as here. Nothing is unpickled, and its arrays are
memory-mapped, so that only the first `limit` rows are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trm_export.errors import reason_of
from trm_export.tasks.row_checks import find_bad_rows, reject
from trm_export.tasks.task import Task
from trm_runtime import strict_json
from trm_runtime.errors import RejectedInputError, unreadable
from trm_runtime.message_text import first_line
from trm_runtime.npy import read_array
from trm_runtime.regular_file import check_regular, open_regular, read_regular
from trm_runtime.zip_members import DAMAGE, opened_archive

__all__ = ["checked_arrays", "read_folder", "read_npz"]

_SUFFIX = ".npy"
Read = tuple[Task, npt.NDArray[np.int32], npt.NDArray[np.int32] | None]


def read_npz(path: Path, tasks: Sequence[Task], limit: int | None) -> Read:
    """The arrays `inputs` and (optional) `labels` of an .npz, checked: (N, S) int32 tokens.

    tasks: the size selects one of them.
    """
    try:
        with open_regular(path) as file, opened_archive(file) as archive:
            names = [Path(name).stem for name in archive.namelist() if name.endswith(_SUFFIX)]
            wanted = [name for name in ("inputs", "labels") if name in names]
            found = {name: read_array(archive, name + _SUFFIX) for name in wanted}
    except (*DAMAGE, OSError) as error:
        raise RejectedInputError(
            f"{path.name}: not a readable .npz file: {first_line(error)}."
        ) from error
    inputs, labels = found.get("inputs"), found.get("labels")
    if inputs is None:
        listed = ", ".join(names) or "nothing"
        raise RejectedInputError(f"{path.name}: expected inputs (and labels), got {listed}.")
    return checked_arrays(f"{path.name} inputs", inputs, labels, tasks, limit)


def read_folder(path: Path, split: str | None, tasks: Sequence[Task], limit: int | None) -> Read:
    """All sets of an official data-set folder: the split folder itself, or its parent + `split`."""
    folder = path if split is None or (path / "dataset.json").is_file() else path / split
    facts = _dataset_facts(folder, path)
    parts: list[Read] = []
    for name in facts["sets"]:
        inputs, labels = (_map(folder / f"{name}__{kind}.npy") for kind in ("inputs", "labels"))
        if inputs.ndim == 2 and inputs.shape[1] != facts["seq_len"]:
            raise RejectedInputError(
                f"{folder.name}/dataset.json: has seq_len {facts['seq_len']}, "
                f"but {name}__inputs.npy has rows of {inputs.shape[1]} tokens."
            )
        left = None if limit is None else limit - sum(len(part[1]) for part in parts)
        if left is None or left > 0:
            parts.append(checked_arrays(f"{name}__inputs.npy", inputs, labels, tasks, left))
    inputs = np.concatenate([inputs for _, inputs, _ in parts])
    labels = np.concatenate([labels for _, _, labels in parts if labels is not None])
    return parts[0][0], inputs, labels


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
        facts = strict_json.parse(read_regular(file).decode())
    except OSError as error:
        raise unreadable(file, error) from error
    except ValueError as error:
        raise RejectedInputError(f"{file}: not valid JSON: {reason_of(error)}.") from error
    sets = facts.get("sets") if isinstance(facts, dict) else None
    plain = isinstance(sets, list) and all(isinstance(s, str) and s.isidentifier() for s in sets)
    if not sets or not plain or not isinstance(facts.get("seq_len"), int):
        raise RejectedInputError(
            f"{file}: expected a list of names `sets` and an integer `seq_len`."
        )
    if len(set(sets)) < len(sets):
        raise RejectedInputError(f"{file}: has a set more than once.")
    return {"sets": sets, "seq_len": facts["seq_len"]}


def _map(path: Path) -> npt.NDArray[Any]:
    try:
        check_regular(path)
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except RejectedInputError:
        raise
    except Exception as error:  # numpy's parser of the header may raise any exception
        raise RejectedInputError(
            f"{path}: not a readable .npy file: {first_line(error)}."
        ) from error
    return mapped


def checked_arrays(
    name: str,
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None,
    tasks: Sequence[Task],
    limit: int | None,
) -> Read:
    """The task; shapes, dtypes and rows checked, the first `limit` rows copied as int32."""
    sizes = {task.seq_len: task for task in tasks}
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


def _names(tasks: Sequence[Task]) -> str:
    return " or ".join(task.name for task in tasks)
