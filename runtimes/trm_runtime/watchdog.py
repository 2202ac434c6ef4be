"""End a command: at a signal, at once if it has processes of its own, or if its engine hangs.

No engine can stop a graph that loops for ever. They let other threads run while they compute, so a
thread can end the process. For command lines only. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from trm_runtime.errors import RejectedInputError
from trm_runtime.failures import ended_by, report
from trm_runtime.signals import NUMBERS, handled, heard
from trm_runtime.streams import StatusLine

GRACE = 1.5  # seconds at least for the step that runs when a deadline passes
PATIENCE = 3.0  # seconds from a signal until a thread ends the process
_UNREAD = 1.0  # seconds for the message, if standard output takes no more
_SLOWEST = 2.0  # the step may also take this many times the slowest one before


class Steps:
    """How long the slowest step took, in seconds."""

    def __init__(self) -> None:
        self.slowest, self._ended = 0.0, time.monotonic()

    def __call__(self) -> None:
        """A step has ended."""
        now = time.monotonic()
        self.slowest, self._ended = max(self.slowest, now - self._ended), now


@contextmanager
def ended_after(deadline: float | None, model: str, as_json: bool) -> Iterator[Steps]:
    """End this process, with a message and exit code 4, if the block has not ended in time.

    That is GRACE seconds after `deadline` seconds, or later for a model whose steps are slow;
    never without a deadline. The block must call what it gets after every step.
    """
    steps, done = Steps(), threading.Event()
    if deadline is None or not 0 <= deadline < threading.TIMEOUT_MAX - GRACE:
        yield steps
        return

    def watch(deadline: float = deadline) -> None:
        if done.wait(deadline + GRACE):
            return
        grace = max(GRACE, _SLOWEST * steps.slowest)
        if not done.wait(grace - GRACE):
            _end(grace, deadline, model, as_json)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield steps
    finally:
        done.set()


def _end(grace: float, deadline: float, model: str, as_json: bool) -> None:
    error = RejectedInputError(
        f"{model}: a call of its graph has not ended {grace:.2g} s after the deadline of "
        f"{deadline:g} s; use a longer deadline, or do not use this file."
    )
    _leave(error, as_json)


@contextmanager
def raised_at_signals(as_json: bool) -> Iterator[None]:
    """In the block SIGINT raises KeyboardInterrupt and SIGTERM TerminatedError, the first of them.

    A process that has not ended after PATIENCE, such as one with an engine that does not return,
    is ended with the same message. Only in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised: list[int] = []

    def end(number: int, frame: Any) -> None:
        raised.append(number)
        for one in before:  # `timeout` sends a signal twice
            signal.signal(one, signal.SIG_IGN)
        raise ended_by(number)

    before = {number: signal.getsignal(number) for number in heard()}
    for number in before:
        signal.signal(number, end)
    stop = _watched(as_json)
    try:
        yield
    finally:
        if not raised:
            stop()
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def ended_by_signals(first: Callable[[], object], as_json: bool) -> Iterator[None]:
    """In the block SIGINT and SIGTERM call `first` and end this process, with a message.

    Nothing is raised: an exception at a random moment may be swallowed. Only in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        for one in heard():
            signal.signal(one, signal.SIG_IGN)
        first()
        StatusLine().clear()
        _leave(ended_by(number), as_json)

    with handled(end):
        yield


def _watched(as_json: bool) -> Callable[[], None]:
    """Start the thread that ends this process after a signal; returns what stops it."""
    if not hasattr(os, "killpg"):  # Windows has no pipe for signals
        return lambda: None
    (heard, told), done = os.pipe(), threading.Event()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def watch() -> None:
        numbers = (number for byte in iter(lambda: os.read(heard, 1), b"") for number in byte)
        number = next((one for one in numbers if one in NUMBERS), None)
        if number is not None and not done.wait(PATIENCE):
            unread = threading.Timer(_UNREAD, os._exit, (128 + number,))
            unread.daemon = True
            unread.start()
            _leave(ended_by(number), as_json)
        os.close(heard)

    def stop() -> None:
        done.set()
        signal.set_wakeup_fd(before)
        os.close(told)

    threading.Thread(target=watch, daemon=True).start()
    return stop


def _leave(error: BaseException, as_json: bool) -> NoReturn:
    code = report(error, as_json)
    sys.stderr.flush()
    os._exit(code)
