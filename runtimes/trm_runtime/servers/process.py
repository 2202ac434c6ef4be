"""A step server that was started as a command, whatever that command does.

Three threads keep its pipes moving, so that no size of a tensor can block both sides: one reads its
output, one its standard error, and one writes each request. It is ended, with all that it has
started, at a time limit, and with this object. Standard library only; knows messages, no contract.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO, Any, final

from trm_runtime.errors import (
    MissingExtraError,
    RejectedInputError,
    TRMError,
    UsageError,
)
from trm_runtime.message_text import LONGEST, clipped, first_line, printable
from trm_runtime.servers import group
from trm_runtime.servers.messages import MAX_LINE, Head, line_of, read_line

_PIECE = 1 << 16  # bytes read at once
_WAITING = 16  # pieces that were read and not used
_KEPT = 4096  # last bytes of standard error
_LISTED = 10  # last lines of it
_ENDING = 60.0  # seconds to end by itself at the end of its input
_BROKEN = 2.0  # seconds for that after an error
_POLL = 0.01  # seconds
_CLOSING = 0.5  # seconds until a pipe is closed whose process has ended
_ERRORS: dict[str, type[TRMError]] = {
    str(error.exit_code): error for error in (TRMError, UsageError, MissingExtraError)
}


@final
class ServerProcess:
    """A command that answers messages; `seconds` is the time limit of each.

    Raises UsageError if it cannot be started. Everything else that goes wrong is a
    RejectedInputError, after which the command has ended.
    """

    def __init__(self, command: str, seconds: float) -> None:
        self.name, self._seconds = clipped(printable(command), 80), seconds
        self._process = _started(command, self.name)
        self._pieces: queue.Queue[bytes] = queue.Queue(_WAITING)
        self._read, self._errors = bytearray(), bytearray()
        self._closed = threading.Event()
        self._writer: threading.Thread | None = None
        self._readers = [
            threading.Thread(target=work, daemon=True)
            for work in (self._read_output, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    def hello(self, longest: int) -> tuple[dict[str, Any], bytearray]:
        """The first message, which has at most so many bytes.

        An error in its place is raised, of the class of its exit code.
        """
        limit = time.monotonic() + self._seconds
        head = self._head(limit)
        if "error" in head:
            message = f"{self.name}: {printable(str(head['error']))}"
            self._end_input(_BROKEN)
            self.close()
            kind = _ERRORS.get(str(head.get("exit_code")), RejectedInputError)
            raise kind(clipped(message, LONGEST))
        if head["bytes"] > longest:
            raise self.failed(f"announces a contract of {head['bytes']:,} bytes")
        return head, self._take(head["bytes"], limit)

    def ask(
        self, head: Head, parts: Sequence[bytes], wanted: Head, size: int
    ) -> tuple[str | None, bytearray]:
        """Send a request; the error of the server, or None, and the bytes of its reply.

        `wanted` are the keys that its line has, `size` the number of its bytes.
        """
        if self._closed.is_set():
            raise RejectedInputError(f"{self.name}: the step server has ended; start it again.")
        limit = time.monotonic() + self._seconds
        if self._has_output():
            raise self.failed("wrote a message without a request")
        message = [line_of(head, sum(map(len, parts))), *parts]
        self._writer = threading.Thread(target=self._write, args=(message,), daemon=True)
        self._writer.start()
        answer = self._head(limit)
        refused = "error" in answer
        expected = {"bytes": 0} if refused else {**wanted, "bytes": size}
        for key, value in expected.items():
            if answer.get(key) != value:
                raise self.failed(
                    f"answered {head.get('request')} with {key} {answer.get(key)!r:.40} instead of "
                    f"{value!r}"
                )
        data = self._take(answer["bytes"], limit)
        self._writer.join(max(0.0, limit - time.monotonic()))
        if self._writer.is_alive():
            raise self.failed("answered a request that it has not read")
        return str(answer["error"]) if refused else None, data

    def failed(self, what: str) -> RejectedInputError:
        """End the command; the error for what it did, with the last of its standard error."""
        self.close()
        lines = self._last_lines()
        text = f"{self.name}: the step server {what}"
        if lines:
            return RejectedInputError(f"{text}; its standard error ends with:", lines)
        return RejectedInputError(f"{text}; it wrote nothing to standard error.")

    def finish(self) -> None:
        """End the command by the end of its input or, if it takes longer, by signals.

        Raises RejectedInputError if it does not end by itself, with exit code 0 and without more
        output. One that was closed before is not judged.
        """
        if not self._closed.is_set() and (self._writer is None or not self._writer.is_alive()):
            self._end_input(_ENDING)
            self._readers[0].join(_CLOSING)
            if self._has_output():
                raise self.failed("wrote a message without a request")
            if self._process.poll() is None:
                raise self.failed(f"has not ended {_ENDING:g} s after the end of its input")
            if self._process.returncode != 0:
                raise self.failed(f"{self._ending()} at the end of its input")
        self.close()

    def close(self) -> None:
        """End the command at once, by signals."""
        self._closed.set()
        group.ended(self._process)
        for thread in (self._writer, *self._readers):
            if thread is not None:
                thread.join(_CLOSING)
        if not any(thread.is_alive() for thread in self._readers):
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                with contextlib.suppress(OSError):
                    _pipe(stream).close()

    def _end_input(self, seconds: float) -> None:
        """Close its input, and wait for its end or for output that is no reply."""
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        limit = time.monotonic() + seconds
        while self._process.poll() is None and not self._has_output() and time.monotonic() < limit:
            time.sleep(_POLL)

    def _has_output(self) -> bool:
        """Whether there is output that is no reply; an empty piece is the end of all output."""
        with self._pieces.mutex:
            return bool(self._read) or any(self._pieces.queue)

    def _head(self, limit: float) -> dict[str, Any]:
        while b"\n" not in self._read and len(self._read) < MAX_LINE:
            self._more(limit)
        end = self._read.find(b"\n", 0, MAX_LINE) + 1 or MAX_LINE
        line = bytes(self._read[:end])
        del self._read[:end]
        try:
            return read_line(line)
        except ValueError as error:
            shown = clipped(repr(line)[1:], 60)
            raise self.failed(f"wrote no message but {shown} ({first_line(error)})") from error

    def _take(self, size: int, limit: float) -> bytearray:
        while len(self._read) < size:
            self._more(limit)
        taken = self._read[:size]
        del self._read[:size]
        return taken

    def _more(self, limit: float) -> None:
        """Wait for output."""
        try:
            piece = self._pieces.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            raise self.failed(f"has not answered in {self._seconds:g} s (--timeout)") from None
        if not piece:
            raise self.failed(f"{self._ending()} before its answer was complete")
        self._read += piece

    def _ending(self) -> str:
        try:
            code = self._process.wait(_BROKEN)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"crashed ({signal.Signals(-code).name})"
        except ValueError:
            return f"crashed (signal {-code})"

    def _last_lines(self) -> list[str]:
        text = bytes(self._errors[-_KEPT:]).decode("utf-8", "replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()][-_LISTED:]

    def _write(self, parts: Sequence[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended: the reader tells
            for part in parts:
                _pipe(self._process.stdin).write(part)
            _pipe(self._process.stdin).flush()

    def _read_output(self) -> None:
        piece = b" "
        while piece:
            piece = os.read(_pipe(self._process.stdout).fileno(), _PIECE)
            while not self._closed.is_set():
                with contextlib.suppress(queue.Full):
                    self._pieces.put(piece, timeout=0.1)
                    break

    def _read_errors(self) -> None:
        while piece := os.read(_pipe(self._process.stderr).fileno(), _PIECE):
            self._errors += piece
            del self._errors[:-_KEPT]


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _started(command: str, name: str) -> subprocess.Popen[bytes]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--command: {name}: {first_line(error)}.") from error
    if not words:
        raise UsageError("--command is empty; give the program that serves the model.")
    try:
        return group.started(words)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(f"--command: {name}: cannot be started: {reason}.") from error
