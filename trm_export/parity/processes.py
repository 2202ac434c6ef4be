"""Distribute the parts of a check over processes of this machine.

An engine with an open session must not be forked, so processes are spawned. Each opens both sides
once, and reads a chunk of the golden at a time. Each has a pipe of its own and they share nothing,
no queue and no lock: any of them can be killed at any moment, and all are in the end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from trm_export.errors import TRMError
from trm_export.leftovers import removed_by
from trm_export.parity.checking import Check, Measured, Sides, Units
from trm_export.parity.worker import work
from trm_runtime.isolation import crashed

_END = 1.0  # seconds to wait for a killed process, which is gone at once unless a disk hangs


class WorkerDiedError(TRMError):
    """A process that measured parts has ended without an answer."""


def over_processes(
    check: Check, sides: Sides, numbers: Sequence[int], units: Units, *, jobs: int
) -> Measured:
    """Measures parts in so many processes; see `checking.Spread`.

    Raises WorkerDiedError, RejectedInputError if the engine crashed, and what measuring a part
    raises.
    """
    waiting = deque(numbers)
    with _workers(min(jobs, len(numbers))) as processes:
        busy: dict[Any, int] = {}
        for pipe in processes:
            _send(pipe, check)
            busy[pipe] = waiting.popleft()
            _send(pipe, busy[pipe])
        while busy:
            for pipe in list[Any](wait(list(busy))):
                answer = _received(pipe, processes[pipe], check)
                if not isinstance(answer, dict):
                    units(answer)
                    continue
                number = busy.pop(pipe)
                if waiting:
                    busy[pipe] = waiting.popleft()
                    _send(pipe, busy[pipe])
                yield number, answer


@contextmanager
def _workers(count: int) -> Iterator[dict[Connection, SpawnProcess]]:
    """So many processes by the pipes to them; they are killed when the block ends."""
    context = multiprocessing.get_context("spawn")
    started: dict[Connection, SpawnProcess] = {}
    pipes: list[Connection] = []

    def kill() -> None:
        for process in started.values():
            process.kill()

    with removed_by(kill):
        try:
            for _ in range(count):
                ours, theirs = context.Pipe()
                pipes.append(ours)
                process = context.Process(target=work, args=(theirs, os.getpid()), daemon=True)
                with _without_ctrl_c():
                    process.start()
                started[ours] = process
                theirs.close()
            yield started
        finally:
            kill()
            for process in started.values():
                process.join(_END)
            for pipe in pipes:
                pipe.close()


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A process that is started in the block never hears of SIGINT: it is for the first one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would let SIGINT through when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(pipe: Connection, what: Any) -> None:
    with suppress(BrokenPipeError):  # `_received` will say so
        pipe.send(what)


def _received(pipe: Connection, process: SpawnProcess, check: Check) -> Any:
    """The next answer: units of work, or a part; raises the error that it is."""
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionResetError) as error:
        process.join(_END)
        if (number := -(process.exitcode or 0)) > 0 and number != signal.SIGKILL:
            raise crashed(check.artifact, number) from error
        raise WorkerDiedError(
            "A worker process died, perhaps because memory ran out; run the command again with "
            "fewer --jobs (with -o or --report it resumes from the finished parts)."
        ) from error
    if isinstance(answer, Exception):
        raise answer
    return answer
