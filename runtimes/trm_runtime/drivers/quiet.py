"""Remove an engine's log lines from standard error. Standard library only.

Engines write them to the file descriptor, and have no setting that turns all of them off.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


def memory_file() -> IO[bytes]:
    """A file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("kept"), "w+b")
    return tempfile.TemporaryFile()


_lock = threading.Lock()  # two threads must not swap descriptors crosswise


@contextmanager
def without(remarks: re.Pattern[bytes]) -> Iterator[None]:
    """Remove what matches; everything else that the block writes is written at its end."""
    with _lock:
        try:
            kept, shown = memory_file(), os.dup(2)
        except OSError:  # no standard error, or no place to keep what is written there
            yield
            return
        with kept:
            os.dup2(kept.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(shown, 2)
                os.close(shown)
                kept.seek(0)
                rest = remarks.sub(b"", kept.read())
                if rest:
                    os.write(2, rest)
