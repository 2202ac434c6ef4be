"""A child process that judges changed inputs for a test, and is replaced after it has ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz.limits import LATE, limit, peak, silence
from tests.fuzz.outcomes import check_seeds, judge, write
from tests.fuzz.reader import Files, Reader, all_readers

Readers = Callable[[], Mapping[str, Reader]]

_SPAWN = get_context("spawn")  # the engines of this process have threads, which a fork has not
_LAST = ("memory", "crash", "hang")  # outcomes after which the child is of no use


class Child:
    """Judges one input after the other; `folder` is where it puts them, `readers` a function."""

    def __init__(self, folder: Path, readers: Readers = all_readers) -> None:
        self._given = folder, readers
        self._reader = ""  # which the process is ready for

    def judged(self, reader: str, chosen: int, files: Files) -> tuple[str, str]:
        """The outcome and its reason, see `judge`."""
        if self._reader != reader:
            self._prepare(reader)
        try:
            self._pipe.send((chosen, files))
            found = self._pipe.recv() if self._pipe.poll(LATE) else ("hang", "no answer")
        except (EOFError, OSError):
            found = "crash", "the child ended"
        if found[0] in _LAST:
            self.end()
        return found

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._reader:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._reader = ""

    def _prepare(self, reader: str) -> None:
        if not self._reader:
            self._pipe, there = _SPAWN.Pipe()
            self._process = _SPAWN.Process(target=_work, args=(there, *self._given), daemon=True)
            self._process.start()
            there.close()
        self._reader = reader
        self._pipe.send(reader)
        problem = self._pipe.recv()
        if problem:
            raise RuntimeError(f"{reader}: a good input is not read.\n{problem}")


def _work(pipe: Connection, folder: Path, readers: Readers) -> None:
    silence()
    present: set[str] = set()
    while True:
        asked = pipe.recv()
        if isinstance(asked, str):
            reader = readers()[asked]
            pipe.send(_problem(reader))
            least = peak()
        else:
            chosen, files = asked
            write(folder, files, present)
            pipe.send(judge(reader, folder, chosen, least))


def _problem(reader: Reader) -> str:
    """Why the good inputs cannot be read; empty if they can."""
    try:
        reader.prepare()
        check_seeds(reader)
        limit()
    except Exception:
        return traceback.format_exc()
    return ""
