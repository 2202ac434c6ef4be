"""The number of processor cores that this process may use, and a check of thread counts."""

from __future__ import annotations

import os

from trm_runtime.errors import UsageError
from trm_runtime.limits import THREADS


def available_cores() -> int:
    """Cores on which the scheduler may run this process; all of the machine if unknown."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Raise UsageError for less than one thread, or more than `limits.THREADS`."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads: expected 1 or more, got {threads}.")
    if threads is not None and threads > THREADS.value:
        raise UsageError(
            f"threads: expected at most {THREADS.value}, got {threads}; {THREADS.remedy}."
        )
