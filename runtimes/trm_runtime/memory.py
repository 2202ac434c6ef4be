"""Make glibc return large freed blocks to the system, in the processes of our commands.

glibc maps blocks above a threshold, and returns them when they are freed, but each such block
raises the threshold; the carries and temporaries of later steps then stay in the heap. With the
5 M-parameter Sudoku preset in int8 on LiteRT that is 3 of 23 MB.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_BYTES = 128 * 1024  # its initial value


def return_large_blocks() -> None:
    """Fix the threshold for this process; does nothing if the C library has none."""
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _BYTES)
    except (AttributeError, OSError, TypeError):  # no glibc
        return
