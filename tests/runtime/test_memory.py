"""Freed memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import os, sys
from trm_runtime.memory import return_free_memory, return_large_blocks
if sys.argv[1] == "fixed":
    return_large_blocks()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
bytearray(16 << 20)  # mapped, and freed at once, which raises the threshold of glibc
before = resident()
blocks = [bytearray(1 << 20) for _ in range(16)]
last = bytearray(1 << 10)
if sys.argv[1] == "trimmed":
    blocks.append(blocks)  # only garbage collection frees them
del blocks
if sys.argv[1] == "trimmed":
    return_free_memory()
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_blocks_are_returned() -> None:
    def kept(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert kept("fixed") < 2 << 20
    assert kept("trimmed") < 2 << 20 < kept("as it is")
