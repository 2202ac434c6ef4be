"""Inject a fault at every system call of a writer, each time in a fork, and judge what is left.

Run as a script with `inject.c` preloaded (`injector.py` does that): it prints a line of JSON for
each writer and fault. Right after a fault the files hold the `old` version, the `new` one, or both
(`mixed`), or one of them lies `aside` under a hidden name; the next command ends the latter two.
What it leaves mixed counts as `unmended`, and what then is neither old nor new as `lost`.
`surprised` are errors that name no file, `unheard` writers that ended well and wrote nothing.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults import writers
from tests.faults.writers import NEW, OLD, WRITERS, Writer
from trm_export import file_commit
from trm_export.errors import TRMError

KINDS = {"write": 1, "fsync": 2, "rename": 4, "open": 8, "mkdir": 16, "unlink": 32}
ALL_KINDS = sum(KINDS.values())
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}
KILL = -1
COLUMNS = ("places", OLD, NEW, "mixed", "aside", "unmended", "lost", "surprised", "unheard")
DONE, REFUSED, SURPRISED = 0, 1, 2  # how a writer ends

_preloaded: Any = ctypes.CDLL(None)


def arm(folder: Path | str, kinds: int = 0, place: int = 0, error: int = 0) -> None:
    """From now on the call of this number fails; without a folder none does."""
    _preloaded.inject_arm(os.fsencode(folder), kinds, place, error)


def places(writer: Writer, folder: Path, kinds: int) -> int:
    """How many system calls the new version takes; writes it."""
    arm(folder, kinds)
    writer.write(folder, NEW)
    counted = int(_preloaded.inject_count())
    arm("")
    return counted


def ended(writer: Writer, folder: Path, kinds: int, place: int, fault: int) -> int:
    """Writes the new version with a fault, in a process of its own; how that ended."""
    child = os.fork()
    if not child:
        code = SURPRISED
        try:
            arm(folder, kinds, place, fault)
            writer.write(folder, NEW)
            code = DONE
        except (TRMError, OSError) as error:
            code = REFUSED if getattr(error, "filename", "a sentence") else SURPRISED
        except BaseException:
            arm("")
            traceback.print_exc()
        finally:
            arm("")
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def judged(found: list[str | None]) -> str:
    """`old`, `new`, `mixed` or `aside`."""
    if None in found:
        return "aside"
    return str(found[0]) if len(set(found)) == 1 else "mixed"


def swept(writer: Writer, folder: Path, kinds: int, errors: Sequence[int]) -> Counter[str]:
    """The tally of a fault at every place; of several errors, each place gets one in turn."""
    tally: Counter[str] = Counter(dict.fromkeys(COLUMNS, 0))
    fresh, work = folder / "fresh", folder / "work"
    fresh.mkdir()
    writer.write(fresh, OLD)
    shutil.copytree(fresh, work)
    for place in range(1, places(writer, work, kinds) + 1):
        shutil.rmtree(work)
        shutil.copytree(fresh, work)
        tally.update(["places", *outcome(writer, work, kinds, place, errors[place % len(errors)])])
    shutil.rmtree(fresh)
    shutil.rmtree(work)
    return tally


def outcome(writer: Writer, work: Path, kinds: int, place: int, error: int) -> Iterator[str]:
    """What one fault at one place led to: columns in which to count it."""
    code = ended(writer, work, kinds, place, error)
    yield judged(writer.found(work))
    file_commit.recover(work)
    healed = judged(writer.found(work))
    if healed not in (OLD, NEW):
        yield "lost" if healed == "aside" else "unmended"
    if code == SURPRISED:
        yield "surprised"
    if code == DONE and healed != NEW:
        yield "unheard"
    if healed != NEW:
        writer.write(work, NEW)
        if judged(writer.found(work)) != NEW:
            yield "unmended"


def main(folder: Path, every: bool) -> None:
    """Sweeps every writer; with `every` each error at each place, kinds of calls apart."""
    writers.prepare(folder)
    faults = {name: (number,) for name, number in ERRORS.items()}
    if not every:
        faults = {"error": tuple(ERRORS.values())}
    for name, writer in WRITERS.items():
        for fault, errors in {**faults, "SIGKILL": (KILL,)}.items():
            for kind, mask in (KINDS if every else {"any": ALL_KINDS}).items():
                row: dict[str, Any] = {"writer": name, "fault": fault, "call": kind}
                row |= swept(writer, folder, mask, errors)
                sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["--every"])
