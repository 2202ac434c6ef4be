"""The number of processor cores that this process may use, and a check of thread counts."""

from __future__ import annotations

import os

from trm_runtime.errors import UsageError
from trm_runtime.limits import THREADS
from trm_runtime.message_text import shown
from trm_runtime.scalars import positive


def available_cores() -> int:
    """Cores on which the scheduler may run this process; all of the machine if unknown."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> int | None:
    """The number; UsageError for less than one thread, or more than `limits.THREADS`."""
    if threads is None:
        return None
    number = positive("threads", threads)
    if number > THREADS.value:
        raise UsageError(
            f"threads: expected at most {THREADS.value}, got {shown(number)}; {THREADS.remedy}."
        )
    return number
