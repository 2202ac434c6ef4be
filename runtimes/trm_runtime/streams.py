"""Standard output and standard error of a command: closed, full, or without a reader.

For command lines only; a library neither prints nor touches them. Standard library only.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Error numbers of a disk that takes no more."""


def open_closed_streams() -> None:
    """Let a command that was started without a stream (`>&-`) write to nowhere instead.

    Python has None in its place, and the next file opened would get its descriptor.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


class StatusLine:
    """A line of standard error that is written over and over; silent where that is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Put the text in the place of the last one."""
        if self._shown:
            sys.stderr.write(f"\r{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take it away."""
        if self._shown:
            sys.stderr.write("\r\033[K")


def has_no_reader(error: BaseException) -> bool:
    """Whether the reader of our output, such as `head`, has seen enough and gone."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def discard(stream: TextIO) -> None:
    """Send the rest to nowhere, lest Python complains at exit about what it could not write."""
    with suppress(OSError, ValueError):  # a captured stream has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def output_problem(error: OSError) -> str | None:
    """What to say where `error` is that of a full standard output; what is left goes nowhere.

    None for an error that names a file, or another than a full disk. A caller that writes files
    names them.
    """
    if error.filename is not None or error.errno not in FULL:
        return None
    discard(sys.stdout)
    return f"standard output cannot be written: {error.strerror}"
