"""An array in a `.npy` file or in a member of an `.npz`: its head is checked before its data."""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from trm_runtime.message_text import first_line
from trm_runtime.regular_file import open_regular
from trm_runtime.zip_members import read_member

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,  # of a long head
}


class Header(NamedTuple):
    """The dtype and the shape of an array, and the order of its elements."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool = False


def read_header(file: BinaryIO, size: int) -> Header:
    """The head at the start of a file of `size` bytes, whose data are complete.

    Raises ValueError for anything else than a plain array, or with more or less data than it says.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"version {version} of the .npy format is not read")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy warns of a head that Python 2 wrote
            shape, fortran, dtype = _READERS[version](file)
    except Exception as error:  # numpy's parser of the header may raise any exception
        raise ValueError(first_line(error)) from error
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"{dtype} is not a dtype of numbers or text")
    found = size - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != found:
        raise ValueError(f"it declares the shape {shape}, but has {found:,} bytes of {dtype}")
    return Header(dtype, tuple(shape), fortran)


def mapped_array(path: Path) -> np.ndarray[Any, Any]:
    """The array of a `.npy` file, memory-mapped and read-only.

    Its head is checked first, because numpy ends the process where it maps elements of no bytes.
    Raises RejectedInputError if it is not a regular file, OSError, ValueError for another array.
    """
    with open_regular(path) as file:
        read_header(file, os.fstat(file.fileno()).st_size)
    mapped: np.ndarray[Any, Any] = np.lib.format.open_memmap(path, mode="r")
    return mapped


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray[Any, Any]:
    """The array of a `.npy` member, read-only; raises one of `zip_members.DAMAGE`."""
    data = read_member(archive, name)
    file = io.BytesIO(data)
    try:
        head = read_header(file, len(data))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    values: np.ndarray[Any, Any] = np.frombuffer(data, head.dtype, offset=file.tell())
    return values.reshape(head.shape, order="F" if head.fortran else "C")
