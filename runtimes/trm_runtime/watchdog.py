"""End a command at once: one whose engine does not return, or one with processes of its own.

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
from trm_runtime.failures import TerminatedError, report
from trm_runtime.streams import StatusLine

GRACE = 1.5  # seconds at least for the step that runs when a deadline passes
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
def ended_by_signals(first: Callable[[], object], as_json: bool) -> Iterator[None]:
    """In the block SIGINT and SIGTERM call `first` and end this process, with a message.

    Nothing is raised: an exception at a random moment may be swallowed. Only in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        for one in heard:
            signal.signal(one, signal.SIG_IGN)
        first()
        StatusLine().clear()
        terminated = number == signal.SIGTERM
        _leave(TerminatedError() if terminated else KeyboardInterrupt(), as_json)

    numbers = (signal.SIGINT, signal.SIGTERM)
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(error: BaseException, as_json: bool) -> NoReturn:
    code = report(error, as_json)
    sys.stderr.flush()
    os._exit(code)
