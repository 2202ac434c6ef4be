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
"""Error numbers of a full disk."""


def open_closed_streams() -> None:
    """Open the null device as stdout or stderr if a command was started without it (`>&-`).

    Otherwise the stream is None, and the next file that is opened gets its descriptor. Such a
    stdout cannot be written, see `output_problem`; messages to such a stderr are lost. What the
    encoding of standard output lacks is from now on written with a backslash.
    """
    for name, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, mode), "w"))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


class StatusLine:
    """A line of standard error that is overwritten; not shown if that is not a terminal.

    As a context it is removed at the end, an error included.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replace the text."""
        if self._shown:
            sys.stderr.write(f"\r{text}\033[K")
            sys.stderr.flush()

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove the text."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def has_no_reader(error: BaseException) -> bool:
    """Whether the reader of our output, such as `head`, has closed it."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def discard(stream: TextIO) -> None:
    """Redirect the rest to the null device, so that Python reports no error at exit."""
    with suppress(OSError, ValueError):  # a captured stream has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def output_problem(error: OSError) -> str | None:
    """The message if standard output is full or closed, whose rest is then discarded.

    None for an error with a file name, or of another kind. Callers that write files name them.
    """
    closed = error.errno == errno.EBADF
    if error.filename is not None or not (closed or error.errno in FULL):
        return None
    discard(sys.stdout)
    reason = "it is closed" if closed else error.strerror
    return f"Standard output cannot be written: {reason}."
