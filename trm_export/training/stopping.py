"""Ask a training run to stop after its present step, from a signal or another thread.

Needs no framework.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether a run was asked to stop.

    `useful` is set by the run, after its first step: before, it has nothing to keep. So is `kept`,
    a sentence on the last backup.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.useful = False
        self.kept = "There is no backup of this run."

    def ask(self) -> bool:
        """Asks; False where the run has nothing to keep and may end as it is."""
        if self.useful:
            self._asked.set()
        return self.useful

    @property
    def is_asked(self) -> bool:
        """Whether a stop was requested."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raises StopAskedError if a stop was requested."""
        if self.is_asked:
            raise StopAskedError


class StopAskedError(Exception):
    """Raised inside a run that was asked to stop."""


@contextmanager
def asked_by_ctrl_c(request: StopRequest) -> Iterator[None]:
    """While the block runs Ctrl-C asks, and a second one raises KeyboardInterrupt as ever.

    A program that handles SIGINT itself goes on doing so.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if request.is_asked or not request.ask():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
