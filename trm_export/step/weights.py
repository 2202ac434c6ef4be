"""The weights inside a `.keras` file or a `.weights.h5` file, read with h5py alone.

Only what Keras itself writes is accepted: plain groups of contiguous numeric datasets. Links out
of the file, datasets stored elsewhere, compressed or unallocated ones and other dtypes are
refused, each by name; so are second links to an object, and more values than the file has bytes.
Knows nothing about Keras classes; imports h5py and numpy.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import h5py
import ml_dtypes
import numpy as np

from trm_export.errors import CheckpointError, reason_of

OPTIMIZER = "optimizer"  # the top-level group of training state, no part of the model
_MAX_DEPTH = 64
_MAX_OBJECTS = 20_000  # groups and datasets, the optimizer's included
_NUMERIC = "biuf"
_UNEXPECTED = "{}: unexpected contents, not written by Keras:"

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class TensorInfo:
    """One stored weight: its place in the HDF5 file, e.g. `inner/lm_head/vars/0`."""

    path: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.path} {self.dtype} {list(self.shape)}"

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def read_weights(source: str | os.PathLike[str] | BinaryIO, where: str) -> Arrays:
    """Every weight of an HDF5 file by its path, little-endian; optimizer state is left out.

    `where` names the file in messages. Raises CheckpointError listing everything refused.
    """
    try:
        with h5py.File(source, "r") as file:
            datasets = dict(_safe_datasets(file, where))
            return {path: _array(dataset) for path, dataset in sorted(datasets.items())}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{where}: not an HDF5 file, or a damaged one: {reason_of(error)}."
        ) from error


def only_numbers(arrays: Arrays, where: str) -> Arrays:
    """Of arrays by their paths what `read_weights` would find in a file of them, and refuse."""
    problems = [
        _not_numeric(path, array.dtype)
        for path, array in arrays.items()
        if array.dtype.kind not in _NUMERIC and array.dtype != ml_dtypes.bfloat16
    ]
    if problems:
        raise CheckpointError(_UNEXPECTED.format(where), problems)
    return {path: array for path, array in sorted(arrays.items()) if not _of_optimizer(path)}


def describe(arrays: Arrays) -> tuple[TensorInfo, ...]:
    """Path, dtype and shape of each array, sorted by path."""
    return tuple(
        TensorInfo(path, array.dtype.name, array.shape) for path, array in sorted(arrays.items())
    )


def digest(arrays: Arrays) -> str:
    """SHA-256 over path, dtype, shape and bytes of every array, in the order of their paths."""
    total = hashlib.sha256()
    for tensor in describe(arrays):
        total.update(f"{tensor}\n".encode())
        total.update(np.ascontiguousarray(arrays[tensor.path]).tobytes())
    return total.hexdigest()


def not_finite(arrays: Arrays) -> list[str]:
    """A problem for every array that contains NaN or infinity."""
    problems = []
    for path, array in arrays.items():
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            problems.append(f"{path}: {bad} of {array.size} values are NaN or infinite")
    return problems


def _safe_datasets(file: h5py.File, where: str) -> Iterator[tuple[str, h5py.Dataset]]:
    problems: list[str] = []
    found: dict[str, h5py.Dataset] = {}
    for path, dataset in _walk(file, "", set(), problems):
        found[path] = dataset
        problems += [f"{path}: {reason}" for reason in _refusals(dataset)]
        if dataset.dtype.kind not in _NUMERIC and not _is_bfloat16(dataset):
            problems.append(_not_numeric(path, dataset.dtype))
    stored = sum(dataset.id.get_storage_size() for dataset in found.values())
    if stored > file.id.get_filesize():
        problems.append(f"its tensors declare {stored:,} bytes, more than the file has")
    if problems:
        raise CheckpointError(_UNEXPECTED.format(where), problems)
    return ((path, dataset) for path, dataset in found.items() if not _of_optimizer(path))


def _of_optimizer(path: str) -> bool:
    return path.split("/")[0] == OPTIMIZER


def _not_numeric(path: str, dtype: Any) -> str:
    return f"{path}: dtype {dtype} is not numeric"


def _walk(
    group: h5py.Group, path: str, seen: set[int], problems: list[str]
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset below a group by its path; `seen` has the addresses of objects visited."""
    if path.count("/") > _MAX_DEPTH:
        raise ValueError(f"more than {_MAX_DEPTH} levels")
    for name in group:
        here = f"{path}/{name}".lstrip("/")
        if len(seen) + len(problems) > _MAX_OBJECTS:
            raise ValueError(f"more than {_MAX_OBJECTS:,} groups and tensors")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            problems.append(f"{here}: a link, not a dataset")
            continue
        member = group[name]
        address = h5py.h5o.get_info(member.id).addr
        if address in seen:
            problems.append(f"{here}: a second link to the same object")
        elif isinstance(member, h5py.Group):
            seen.add(address)
            yield from _walk(member, here, seen, problems)
        elif isinstance(member, h5py.Dataset):
            seen.add(address)
            yield here, member
        else:
            problems.append(f"{here}: neither a group nor a dataset")


def _refusals(dataset: h5py.Dataset) -> Iterator[str]:
    if dataset.external or dataset.is_virtual:
        yield "its data are in other files"
    elif dataset.chunks is not None:
        yield "its data are chunked or compressed"
    elif dataset.id.get_storage_size() != dataset.size * dataset.dtype.itemsize:
        yield f"it declares {dataset.size} values but does not contain them"


def _is_bfloat16(dataset: h5py.Dataset) -> bool:
    """Keras stores bfloat16, which HDF5 does not have, as two opaque bytes and an attribute."""
    named: Mapping[str, Any] = dataset.attrs
    return dataset.dtype == np.dtype("V2") and named.get("dtype") == "bfloat16"


def _array(dataset: h5py.Dataset) -> np.ndarray[Any, Any]:
    array = np.asarray(dataset[()])
    if array.dtype.kind == "V":
        return array.view(ml_dtypes.bfloat16)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
