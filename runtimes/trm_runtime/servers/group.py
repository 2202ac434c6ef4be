"""A command in a group of processes of its own, of which none outlives the process that began it.

A second process, the guard, ends the group where the first one cannot, such as after `kill -9`. It
runs this file, and waits for the end of its input, which only the first process holds open.
Standard library only; imports nothing of this package.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

PATIENCE = 1.0  # seconds that a group gets to end after SIGTERM and after SIGKILL
_LOOKED = 0.02  # seconds between two looks at a group

_guards: dict[subprocess.Popen[bytes], subprocess.Popen[bytes] | None] = {}


def started(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """The command with pipes, in a group that Ctrl-C does not reach.

    It has no guard on a system without groups (Windows). Raises what Popen raises.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    _guards[process] = None
    if hasattr(os, "killpg"):
        with suppress(OSError):
            _guards[process] = _guard(process.pid)
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    """End the group of a process, and then its guard, which has nothing left to do."""
    _end(process)
    process.wait()
    guard = _guards.pop(process, None)
    if guard is not None:
        guard.communicate()


def end_all() -> None:
    """End every group. For a handler of signals: it waits for no lock."""
    for process in list(_guards):
        _end(process)


def _guard(group: int) -> subprocess.Popen[bytes]:
    words, null = [sys.executable, "-I", "-S", __file__, str(group)], subprocess.DEVNULL
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        _end_group(process.pid, process.poll)
    else:
        process.kill()
    guard = _guards.get(process)
    if guard is not None:
        guard.kill()


def _end_group(group: int, reap: Callable[[], object] = lambda: None) -> None:
    """SIGTERM to every process of a group and, after PATIENCE, SIGKILL to those that are left."""
    with suppress(OSError):  # none is left
        for number in (signal.SIGTERM, signal.SIGKILL):
            limit = time.monotonic() + PATIENCE
            os.killpg(group, number)
            while time.monotonic() < limit:
                reap()
                os.killpg(group, 0)
                time.sleep(_LOOKED)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    _end_group(int(sys.argv[1]))
