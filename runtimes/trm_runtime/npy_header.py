"""The head of an array in a `.npy` file or in a member of an `.npz`, before its data are read."""

from __future__ import annotations

import math
import warnings
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from trm_runtime.message_text import first_line

_VERSION = (1, 0)  # numpy writes a later one only for names that need it


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
        if np.lib.format.read_magic(file) != _VERSION:
            raise ValueError("not a .npy file of version 1.0")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy warns of a head that Python 2 wrote
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy's parser of the header may raise any exception
        raise ValueError(first_line(error)) from error
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("it is not an array of numbers")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError("it has other data than its head describes")
    return Header(dtype, tuple(shape), fortran)
