"""Standard output and standard error of a command: closed, full, or without a reader.

For command lines only; a library neither prints nor touches them. Standard library only.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import IO, Any

FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Error numbers of a full disk."""

ASCII = "ascii-drawings"
"""How standard output writes what its encoding lacks: boards in ASCII, else with a backslash."""

_DRAWN = str.maketrans(
    {**dict.fromkeys("┌┬┐├┼┤└┴┘", "+"), "─": "-", "│": "|", "█": "#", "●": "o", "·": "."}
)
_STDOUT = 1  # its descriptor
_unread: set[int] = set()
"""Descriptors whose reader has closed them."""


class _Unread(io.TextIOWrapper):
    """A standard stream whose rest is discarded once its reader has closed it.

    What is under it is not of Python: where a signal ended a write there, what is written already
    would be written again, or lost.
    """

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._go_on()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._go_on()

    def _go_on(self) -> None:
        _unread.add(self.fileno())
        discard(self)
        super().flush()


def prepare_streams() -> None:
    """Make stdout and stderr of a command such that only a full or closed stdout is an error.

    One that it was started without (`>&-`) becomes the null device: otherwise the stream is None,
    and the next file that is opened gets its descriptor. Such a stdout cannot be written, see
    `output_problem`; messages to such a stderr are lost. What is written after a reader has gone
    away is lost too, see `has_no_reader`. What the encoding of standard output lacks is from now on
    written as `ASCII` says. A width or height of 0 in the environment, in which nothing is printed,
    counts as none.
    """
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "").strip("0"):
            os.environ.pop(name, None)
    for name, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, mode), "w"))
        elif stream is getattr(sys, f"__{name}__") and not stream.isatty():
            setattr(sys, name, _without_reader(stream))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=ASCII)


def _without_reader(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream, which goes on without its reader."""
    stream.flush()
    raw: Any = io.FileIO(stream.fileno(), "w", closefd=False)
    return _Unread(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_DRAWN)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(ASCII, _in_ascii)


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


def has_no_reader() -> bool:
    """Whether the reader of standard output, such as `head`, has closed it; known by a write."""
    return _STDOUT in _unread


def discard(stream: IO[Any]) -> None:
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
