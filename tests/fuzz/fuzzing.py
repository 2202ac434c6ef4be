"""Run one reader on changed inputs, in children that may crash, hang or take too much memory.

The parent never calls the reader. A child works through numbers of inputs and writes its place and
its counts to shared memory; the parent watches, ends it if it is late, and starts the next one
after the input that ended it.
"""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.fuzz.limits import LATE, limit, peak, silence
from tests.fuzz.outcomes import FAULTS, OUTCOMES, check_seeds, judge, mutant, write
from tests.fuzz.reader import Reader

_KEPT = 20  # faults of one kind whose input is kept
_PLACE = struct.Struct("q")
_MEMORY_FOLDER = Path("/dev/shm")  # where writing an input costs nothing


@dataclass
class Row:
    """The counts of one reader."""

    reader: str
    native: bool
    seconds: float = 0.0  # of a processor
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    @property
    def mutants(self) -> int:
        """How many inputs were tried."""
        return sum(self.counts.values())

    @property
    def faults(self) -> int:
        """How many of them fail the run."""
        crashes = 0 if self.native else self.counts["crash"]
        return crashes + sum(self.counts[name] for name in FAULTS)


class Shared:
    """The place of a child and its counts, in memory that both processes see."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _PLACE.size * (1 + len(OUTCOMES)))

    def __getitem__(self, index: int) -> int:
        number: int = _PLACE.unpack_from(self._memory, index * _PLACE.size)[0]
        return number

    def __setitem__(self, index: int, number: int) -> None:
        _PLACE.pack_into(self._memory, index * _PLACE.size, number)

    def count(self, outcome: str) -> None:
        """One more of these."""
        self[1 + OUTCOMES.index(outcome)] += 1


@dataclass(frozen=True)
class Run:
    """How long one reader is tried, and where its faults are kept."""

    reader: Reader
    seed: int
    seconds: float
    most: int | None  # inputs
    failures: Path

    def row(self, first: int = 0) -> Row:
        """Try inputs from that number until the time or their number is over."""
        self.reader.prepare()
        shared, started, used = Shared(), time.monotonic(), _processor_seconds()
        row = Row(self.reader.name, self.reader.native)
        memory = _MEMORY_FOLDER if _MEMORY_FOLDER.is_dir() else None
        folder = Path(tempfile.mkdtemp(prefix="trm-fuzz-", dir=memory))
        try:
            self._check_seeds()
            at, end = first, None if self.most is None else first + self.most
            while (end is None or at < end) and time.monotonic() - started < self.seconds:
                stop = at + self.reader.batch
                stop = stop if end is None else min(stop, end)
                at = self._child(shared, folder, at, stop, started + self.seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        row.seconds = _processor_seconds() - used
        row.counts = {name: shared[1 + index] for index, name in enumerate(OUTCOMES)}
        return row

    def _check_seeds(self) -> None:
        child = os.fork()
        if child == 0:
            _exit_after(lambda: check_seeds(self.reader))
        if os.waitpid(child, 0)[1]:
            raise RuntimeError(f"{self.reader.name}: a good input is not read")

    def _child(self, shared: Shared, folder: Path, start: int, stop: int, until: float) -> int:
        """The number of the next input after one child."""
        shared[0] = start
        child = os.fork()
        if child == 0:
            _exit_after(lambda: self._work(shared, folder, start, stop, until))
        outcome = _watched(child, shared)
        if outcome is None:
            return shared[0]
        broken = shared[0]
        shared.count(outcome)
        self._keep(shared, broken, outcome, f"The child ended: {outcome}.")
        return broken + 1

    def _work(self, shared: Shared, folder: Path, start: int, stop: int, until: float) -> None:
        limit()
        silence()
        present: set[str] = set()
        least = peak()
        for number in range(start, stop):
            shared[0] = number
            chosen, files = mutant(self.reader, self.seed, number)
            write(folder, files, present)
            outcome, reason = judge(self.reader, folder, chosen, least)
            shared.count(outcome)
            if outcome in FAULTS:
                self._keep(shared, number, outcome, reason)
            shared[0] = number + 1
            if outcome in ("memory", "hang") or time.monotonic() > until:
                return

    def _keep(self, shared: Shared, number: int, outcome: str, reason: str) -> None:
        if shared[1 + OUTCOMES.index(outcome)] > _KEPT:
            return
        name = f"{self.reader.name}-{self.seed}-{number}-{outcome}".replace(" ", "-")
        folder = self.failures / name
        write(folder, mutant(self.reader, self.seed, number)[1], set())
        again = f"python -m tests.fuzz --reader '{self.reader.name}' --seed {self.seed}"
        text = f"{reason}\n\nAgain: {again} --first {number} --mutants 1\n"
        (folder / "reason.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def _exit_after(work: Callable[[], object]) -> NoReturn:
    """End this child, with 1 after an exception, and without what its parent does at its end."""
    error = os.dup(2)  # what the work does not silence
    try:
        work()
        os._exit(0)
    except BaseException:
        os.write(error, traceback.format_exc().encode())
    finally:
        os._exit(1)


def _watched(child: int, shared: Shared) -> str | None:
    """Wait for a child: how it ended at the input of `shared[0]`, or None if all is well."""
    place, since = shared[0], time.monotonic()
    pause = 0.001
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "crash" if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) else None
        if shared[0] != place:
            place, since = shared[0], time.monotonic()
        if time.monotonic() - since > LATE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang"
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)


def _processor_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
