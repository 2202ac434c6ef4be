"""The process that measures parts of a check: told a check first and then numbers, by a pipe.

It answers with the units of work it has done, with arrays, or with an error. Everything is imported
after it is certain that this process ends with the one that began it.
"""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Connection

from trm_runtime.parent import end_with


def work(pipe: Connection, parent: int) -> None:
    """Answers until the other end is closed."""
    end_with(parent)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _answer(pipe)
    except (EOFError, OSError):
        os._exit(1)


def _end_with_parent() -> None:
    """What `end_with` does on Linux, anywhere."""
    import multiprocessing

    process = multiprocessing.parent_process()
    if process is not None:
        process.join()
        os._exit(1)


def _answer(pipe: Connection) -> None:
    check = pipe.recv()
    from trm_export.parity.checking import measured, opened

    sides = None
    while True:
        number = pipe.recv()
        try:
            sides = sides or opened(check)
            pipe.send(measured(check, sides, number, pipe.send))
        except Exception as error:
            pipe.send(error)
