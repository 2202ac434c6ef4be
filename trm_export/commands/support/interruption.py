"""Ctrl-C and `kill`: a command ends at once, whatever it does, and never later than `PATIENCE`.

An exception raised at a random moment may be swallowed, or appear as a traceback of a destructor of
another library. So nothing is raised: temporary files are removed, a line gives the reason, and the
process exits without running destructors. Python's handler in the main thread does that, or a
thread if the main one waits for an engine, whichever runs first. A second process, forked before
anything else and notified of signals by C code alone, kills the first one if neither can run (an
engine that holds the interpreter lock), or after a second Ctrl-C, and says so. It ends with the
first one.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from trm_export import leftovers

PATIENCE = 3  # seconds from the first signal until the process is killed
INTERRUPTED, TERMINATED = 130, 143
_KILLED = 128 + signal.SIGKILL if hasattr(signal, "SIGKILL") else 1
_ENDS = {signal.SIGINT: (INTERRUPTED, "Interrupted."), signal.SIGTERM: (TERMINATED, "Terminated.")}
_SAME = 0.5  # seconds in which a second signal is the first one again, as `timeout` sends it
_IS_PATIENCE = 128  # from this byte on a number of seconds, below it that of a signal
_CLEAR_LINE, _SHOW_CURSOR = b"\r\x1b[2K", b"\x1b[?25h"

Reaction = Callable[[str], bool]
"""What a command does at a signal, in any thread; False where the process is to end at once. It is
given the word for it, "Interrupted." or "Terminated."."""

_acting = threading.RLock()
_told: int | None = None  # where the second process listens
_stderr = 2
_reaction: Reaction | None = None
_postponed: int | None = None  # the signal that a command has taken upon itself
_as_json = False


def install(*, as_json: bool = False) -> None:
    """From now on SIGINT and SIGTERM end this process; call it before any thread is started."""
    global _told, _stderr, _as_json
    _as_json = as_json
    heard = [number for number in _ENDS if signal.getsignal(number) != signal.SIG_IGN]
    with suppress(OSError):  # engines put files in the place of descriptor 2
        _stderr = os.dup(2)
    if hasattr(os, "fork"):
        answers, _told = _forked_guard()
        signal.set_wakeup_fd(_told, warn_on_full_buffer=False)
        threading.Thread(target=_listen, args=(answers,), daemon=True).start()
    for number in heard:
        signal.signal(number, lambda number, frame: _act(number))
    sys.unraisablehook = lambda unraisable: None


@contextmanager
def postponed(reaction: Reaction, patience: int) -> Iterator[None]:
    """While the block runs a signal calls `reaction`, and the process may take so many seconds.

    At most 100, because a byte has to hold them beside `_IS_PATIENCE`.
    """
    global _reaction
    _reaction = reaction
    _tell(patience)
    try:
        yield
    finally:
        _reaction = None
        if _postponed is None:
            _tell(PATIENCE)


def if_killed(patience: int, text: str) -> None:
    """What the second process adds when it has to kill this one: what is kept, and what to do."""
    _tell(patience, text)


def leave(code: int) -> NoReturn:
    """Ends this process after a command, at once where a signal has told it to end.

    Destructors are not run: before them Python gives the signals back to the system, and a Ctrl-C
    would then kill a command that has done its work, without a word.
    """
    if _postponed is None:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    leftovers.clear()
    if _postponed is not None and code == INTERRUPTED:
        code, _ = _ENDS[signal.Signals(_postponed)]
    os._exit(code)


def say(text: str) -> None:
    """A line for people on the standard error that the command was started with."""
    with suppress(OSError):
        start = _CLEAR_LINE + _SHOW_CURSOR if os.isatty(_stderr) else b""
        os.write(_stderr, start + text.encode() + b"\n")


def _act(number: int) -> None:
    global _postponed
    with _acting:
        reason = _ENDS[signal.Signals(number)][1]
        if _postponed is None and (_reaction is None or not _reaction(reason)):
            _end(number)
        _postponed = number


def _end(number: int) -> NoReturn:
    code, reason = _ENDS[signal.Signals(number)]
    leftovers.clear()
    _announce(code, reason, leftovers.kept())
    os._exit(code)


def _announce(code: int, reason: str, kept: Sequence[str] = ()) -> None:
    if _as_json:
        details: dict[str, object] = {
            "type": "KeyboardInterrupt",
            "message": reason,
            "problems": [],
        }
        details |= {"notes": kept} if kept else {}
        document = {"error": {**details, "exit_code": code}}
        with suppress(OSError):
            os.write(1, json.dumps(document, indent=2).encode() + b"\n")
    else:
        say("\n".join((reason, *kept)))


def _tell(patience: int, text: str = "") -> None:
    """In one piece, so that no signal comes between the bytes."""
    if _told is not None:
        line = text.replace("\n", " ").encode()[: select.PIPE_BUF - 2]
        with suppress(OSError):
            os.write(_told, bytes([_IS_PATIENCE + patience]) + line + b"\n")


def _listen(answers: int) -> None:
    while byte := os.read(answers, 1):
        _act(byte[0])


def _forked_guard() -> tuple[int, int]:
    """Starts the second process; the pipe ends to read its signals from and to write to it."""
    (heard, told), (answers, answer) = os.pipe(), os.pipe()
    os.set_blocking(told, False)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    parent = os.getpid()
    if not os.fork():
        try:
            for number in _ENDS:
                signal.signal(number, signal.SIG_IGN)
            kept = {heard, answer, _stderr, *([1] if _as_json else [])}
            kept -= {told, answers}  # they have the numbers of standard files that are closed
            for other in {*range(64)} - kept:
                with suppress(OSError):
                    os.close(other)
            _guard(parent, heard, answer)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.close(heard)
    os.close(answer)
    return answers, told


def _guard(parent: int, heard: int, answer: int) -> None:
    """Kills `parent` when its patience is over after a signal; returns when it has ended."""
    patience, kept = PATIENCE, ""
    first: float | None = None
    while True:
        wait = None if first is None else max(first + patience - time.monotonic(), 0)
        if not select.select([heard], [], [], wait)[0]:
            reason = f"Killed, because it did not end within {patience} s of the signal."
            _kill(parent, reason, kept)
            return
        byte = os.read(heard, 1)
        if not byte:
            return
        if byte[0] >= _IS_PATIENCE:
            patience, kept = byte[0] - _IS_PATIENCE, _line_from(heard)
        elif byte[0] not in _ENDS:
            continue
        elif first is None:
            first = time.monotonic()
            os.write(answer, byte)
        elif time.monotonic() - first > _SAME:
            _kill(parent, "Killed by the second signal.", kept)
            return


def _line_from(pipe: int) -> str:
    line = b""
    while (byte := os.read(pipe, 1)) not in (b"\n", b""):
        line += byte
    return line.decode(errors="replace")


def _kill(parent: int, reason: str, kept: str) -> None:
    _announce(_KILLED, f"{reason} {kept}".strip())
    os.kill(parent, signal.SIGKILL)
