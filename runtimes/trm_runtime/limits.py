"""Limits of what a file may ask for, each of which an environment variable changes.

An untrusted file of a few kB can declare a batch of a billion rows, or unpack to gigabytes. These
limits are far above what real models need. Standard library only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from trm_runtime.errors import UsageError


@dataclass(frozen=True)
class Limit:
    """The largest number that is accepted unless the user sets another."""

    variable: str  # of the environment
    default: int

    @property
    def value(self) -> int:
        """The user's number, or the default; UsageError for one that is no positive integer."""
        text = os.environ.get(self.variable) or str(self.default)
        if not (text.isdecimal() and text.isascii() and 0 < len(text) < 16 and int(text) > 0):
            raise UsageError(f"{self.variable}: expected an integer above 0, got {text!r:.60}.")
        return int(text)

    @property
    def bytes(self) -> int:
        """Of a limit in MB."""
        return self.value << 20

    @property
    def remedy(self) -> str:
        """How to go on, for the end of a message."""
        return f"set the environment variable {self.variable} to allow more"


FILE_MB = Limit("TRM_MAX_FILE_MB", 64)
"""Of a text or JSON file that is read into memory, MiB."""

JSON_MB = Limit("TRM_MAX_JSON_MB", 16)
"""Of puzzles in one JSON document, which takes up to 30 times as much memory, MiB."""

MEMORY_MB = Limit("TRM_MAX_MEMORY_MB", 256)
"""Of arrays in memory at once: the carry and outputs of one batch, or a chunk of a golden, MiB."""

CALLS = Limit("TRM_MAX_CALLS", 10_000)
"""Of the graph for one puzzle: the contract's `max_steps` x `passes`."""

THREADS = Limit("TRM_MAX_THREADS", 256)
"""Of an engine."""

ALL = (FILE_MB, JSON_MB, MEMORY_MB, CALLS, THREADS)
