"""How many processor cores this process may use, and how many threads it is asked for."""

from __future__ import annotations

import os

from trm_runtime.errors import UsageError


def available_cores() -> int:
    """Cores the scheduler lets this process run on; all of the machine's where it cannot say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Raise UsageError for a number of threads that cannot be."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads: expected 1 or more, got {threads}")
