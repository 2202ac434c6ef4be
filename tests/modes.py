"""Let the modes of files count: root may read every file, and this takes that right away."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_READ_ALL = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def modes_count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For this thread, in the block. Skips the test where root cannot give the right up."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root can read every file")
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, before) != 0:
        pytest.skip("root can read every file")
    after = (ctypes.c_uint32 * 6)(before[0] & ~_READ_ALL, *before[1:])
    libc.capset(header, after)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", functools.partial(os.access, effective_ids=True))
            yield
    finally:
        libc.capset(header, before)
