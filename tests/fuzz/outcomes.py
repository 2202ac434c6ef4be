"""What became of one changed input, decided inside the child that made the call."""

from __future__ import annotations

import functools
import pickle
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.limits import MEMORY, SECONDS, peak
from tests.fuzz.reader import Files, Reader
from trm_runtime.errors import RejectedInputError, TRMError

OUTCOMES = ("refused", "same", "other", "traceback", "crash", "hang", "memory", "message")
"""`other`: read, with another result; `message`: refused at 500 characters or more, or with another
exit code than 4."""

FAULTS = ("traceback", "hang", "memory", "message")
"""Outcomes that fail a run, and `crash` of a reader in Python."""

LONGEST = 500  # characters of a message


def mutant(reader: Reader, seed: int, number: int) -> tuple[int, Files]:
    """Which good input was changed, and what it became: always the same for the same numbers."""
    return changed(reader, Random(f"{reader.name} {seed} {number}"))


def changed(reader: Reader, rng: Random) -> tuple[int, Files]:
    """Which good input was changed, and what it became."""
    good = _seeds(reader)
    chosen = rng.randrange(len(good))
    return chosen, reader.mutate(rng, good[chosen])


def write(folder: Path, files: Files, present: set[str]) -> None:
    """The folder has exactly these files; `present` are those of the last call."""
    for name in present - set(files):
        (folder / name).unlink(missing_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    present.clear()
    present.update(files)


def judge(reader: Reader, folder: Path, chosen: int, least: int) -> tuple[str, str]:
    """The outcome of a call, and the reason if that is a fault; `least` is the peak before."""
    outcome, reason = _called(reader, folder, chosen)
    taken = peak() - least
    if taken > MEMORY:
        return "memory", f"{taken >> 20} MiB; {outcome} {reason}"
    return outcome, reason


def _called(reader: Reader, folder: Path, chosen: int) -> tuple[str, str]:
    try:
        with _deadline(SECONDS):
            found = reader.call(folder)
    except RejectedInputError as error:
        return _refused(str(error))
    except TRMError as error:
        return "message", f"exit code {error.exit_code}: {error}"
    except TimeoutError:
        return "hang", traceback.format_exc()
    except Exception:
        return "traceback", traceback.format_exc()
    return ("same" if _digest(found) == _expected(reader, chosen) else "other"), ""


def _refused(text: str) -> tuple[str, str]:
    if len(text) >= LONGEST:
        return "message", f"{len(text)} characters: {text[:2000]}"
    odd = [character for character in text.replace("\n", "") if not character.isprintable()]
    return ("message", f"not printable: {text!r}") if odd else ("refused", "")


def check_seeds(reader: Reader) -> None:
    """Raise what the reader raises for a good input, which would make every outcome wrong."""
    for number in range(len(_seeds(reader))):
        _expected(reader, number)


@functools.cache
def _seeds(reader: Reader) -> list[Files]:
    return list(reader.seeds())


@functools.cache
def _expected(reader: Reader, chosen: int) -> bytes:
    """What the good input gives, in a folder of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), _seeds(reader)[chosen], set())
        return _digest(reader.call(Path(folder)))


def _digest(found: Any) -> bytes:
    return pickle.dumps(found)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """TimeoutError in Python code; an engine that hangs is ended by the parent."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
