"""What a call may take, and the limits of a child that makes it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

SECONDS = 10
LATE = SECONDS + 5  # seconds after which the parent ends a child
MEMORY = 500 << 20  # bytes a call may take
_ADDRESSES = 4 << 30  # bytes a child may ask for, so that the machine goes on


def limit() -> None:
    """No core files, and no more addresses than a faulty call may ask for."""
    addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (addresses + _ADDRESSES, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def silence() -> None:
    """What an engine writes to standard error is not shown."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def peak() -> int:
    """The most bytes of memory that this process had; `getrusage` counts its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) << 10
