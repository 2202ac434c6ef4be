"""Handlers of SIGINT and SIGTERM for the time of a block. Standard library only."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM)


def heard() -> list[signal.Signals]:
    """Those that are not ignored, and whose handler can be given back."""
    return [number for number in NUMBERS if signal.getsignal(number) not in (signal.SIG_IGN, None)]


@contextmanager
def handled(handler: Callable[[int, Any], object]) -> Iterator[None]:
    """`handler` gets the heard signals in the block. Only in the main thread."""
    before = {number: signal.signal(number, handler) for number in heard()}
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


@contextmanager
def undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM take effect after the block, so that what it starts is never lost.

    Only in the main thread, which alone runs handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    try:
        with handled(lambda number, frame: came.append(number)):
            yield
    finally:
        for again in came[:1]:
            signal.raise_signal(again)
