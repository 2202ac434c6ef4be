"""Keep glibc from holding on to large freed blocks, in a process of our own.

glibc raises its threshold for blocks that are mapped, and so returned when freed, with every such
block that is freed; the carries and temporaries of a step then pile up in the heap. With the 5
M-parameter Sudoku preset in int8 on LiteRT that is 3 of 23 MB.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_BYTES = 128 * 1024  # what it is before anything is freed


def return_large_blocks() -> None:
    """Fix the threshold for the whole process; does nothing where the C library has none."""
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _BYTES)
    except (AttributeError, OSError, TypeError):  # no glibc
        return
