"""Distribute the parts of a check over processes of this machine.

An engine with an open session must not be forked, so processes are spawned. Each opens both sides
once, and reads a chunk of the golden at a time. They end when the process that started them ends,
for whatever reason.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from trm_export.errors import TRMError
from trm_export.parity.checking import Check, Measured, Sides, Units, measured, opened

Array = np.ndarray[Any, Any]

_TICK = 0.2  # seconds between two progress reports

_counts: Any = None  # in a worker: a number a part, of units done


class WorkerDiedError(TRMError):
    """A process that measured parts has ended without an answer."""


def over_processes(
    check: Check, sides: Sides, numbers: Sequence[int], units: Units, *, jobs: int
) -> Measured:
    """Measures parts in so many processes; see `checking.Spread`.

    Raises WorkerDiedError.
    """
    context, reported = multiprocessing.get_context("spawn"), 0
    counts = context.RawArray("q", max(len(numbers), 1))
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(counts,))
    running: dict[Future[dict[str, Array]], int] = {}
    try:
        for place, number in enumerate(numbers):
            running[pool.submit(_measured, check, number, place)] = number
        while running:
            done, _ = wait(running, _TICK, FIRST_COMPLETED)
            finished = sum(counts)
            units(finished - reported)
            reported = finished
            for future in done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise WorkerDiedError(
            "A worker process died, perhaps because memory ran out; run the command again with "
            "fewer --jobs (with -o or --report it resumes from the finished parts)."
        ) from error
    finally:
        if running:  # after an error, the unfinished parts are not needed
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
        pool.shutdown(cancel_futures=True)


def _begin(counts: Any) -> None:
    """Leaves Ctrl-C to the first process, which ends the others."""
    global _counts
    _counts = counts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_opened = functools.lru_cache(maxsize=1)(opened)


def _measured(check: Check, number: int, place: int) -> dict[str, Array]:
    def units(more: int) -> None:
        _counts[place] += more

    return measured(check, _opened(check), number, units)
