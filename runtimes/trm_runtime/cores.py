"""How many processor cores this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores the scheduler lets this process run on; all of the machine's where it cannot say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
