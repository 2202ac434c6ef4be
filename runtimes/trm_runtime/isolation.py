"""Run a command again in a child process with limits, so that a crash is an error like any other.

    parent: `rerun` starts the same command line, passes signals on, and explains how it ended
    child:  `inside()` is true; `confine` sets its limits before an engine is loaded

A crash, a time limit and a memory limit become a RejectedInputError. The child is the same user
with the same files: this contains accidents and what a file makes an engine do to its own process,
not code that a file brings with it. Standard library only; numpy, if it is there, is loaded before
the limits are set.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trm_runtime.errors import MissingExtraError, RejectedInputError, TRMError, UsageError
from trm_runtime.failures import ended_by, report
from trm_runtime.file_kinds import folder_kind, suffix_kind
from trm_runtime.memory_errors import lacks_memory
from trm_runtime.message_text import first_line
from trm_runtime.parent import end_with
from trm_runtime.signals import handled

OPTION = "--isolate"
MEGABYTES, SECONDS = 4000, 3600  # limits of one process, unless the user sets others
HELP = "Run the engine in a child process, so that its crash is exit code 4."
HELP_MEGABYTES = f"Memory of that process and of each that it starts (default {MEGABYTES})."
HELP_SECONDS = f"Time of that process (default {SECONDS})."

_PARENT = "TRM_ISOLATED_BY"  # an environment variable: the process that isolates this one
_LATER = 0.2  # seconds; a terminal has sent Ctrl-C to both processes already
_TEXTS = {  # how it ended, and the remedy
    "SIGALRM": ("took longer than --isolate-seconds allows", "allow more, or do not use it"),
    "SIGXCPU": ("took longer than the system allows", "allow more (ulimit -t), or do not use it"),
    "SIGKILL": ("was killed, perhaps because memory ran out", "free some, or do not use it"),
}
_NOT_USABLE = "do not use it, or export it again"
_ALLOW_MORE = f"or allow more memory with {OPTION}-memory"
_SPARE = 16_000_000  # bytes; with less left below the limit, any odd error is taken for its work


def inside() -> bool:
    """Whether this process is the child, or one of its children."""
    return _PARENT in os.environ


def refuse_idle_limits(isolate: bool, megabytes: int | None, seconds: float | None) -> None:
    """UsageError for a limit of the child where there is none."""
    for name, value in (("memory", megabytes), ("seconds", seconds)):
        if value is not None and not isolate:
            raise UsageError(f"{OPTION}-{name} is for {OPTION}; give both, or drop it.")


def confine(megabytes: int | None = None, seconds: float | None = None) -> None:
    """Set the limits of this process, which ends with its parent; processes it starts inherit them.

    Raises UsageError for limits that are not positive, or on a system without them (Windows).
    """
    megabytes = MEGABYTES if megabytes is None else megabytes
    seconds = SECONDS if seconds is None else seconds
    for name, value in (("memory", megabytes), ("seconds", seconds)):
        if not 0 < value < 1 << 31:
            raise UsageError(f"{OPTION}-{name} must be above 0, got {value:g}.")
    try:
        import resource
    except ImportError:
        raise UsageError(f"{OPTION} needs a system with limits of memory; drop it.") from None
    wanted, (_, most) = megabytes * 1_000_000, resource.getrlimit(resource.RLIMIT_DATA)
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    with suppress(ImportError):
        import numpy  # noqa: F401 (under a low limit its OpenBLAS ends the process without a word)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the system ends it, whatever an engine does
    signal.setitimer(signal.ITIMER_REAL, seconds)
    end_with(int(os.environ[_PARENT]))


def rerun(command: Sequence[str], *, as_json: bool = False) -> int:
    """Run that command line in a child and return its exit code; output goes where ours goes.

    With `as_json` its standard output is passed on when it has ended, so that a crash leaves no
    half document; nor does it leave temporary files. Raises RejectedInputError if it crashes or
    exceeds a limit.
    """
    pipe = subprocess.PIPE if as_json else None
    with _temporary_files() as places:
        env = {**os.environ, **places, _PARENT: str(os.getpid())}
        with subprocess.Popen(command, stdout=pipe, env=env) as process, _passed_on(process):
            out, _ = process.communicate()
    code = process.returncode
    if as_json and not out and 0 < code < 256:  # every error that is reported is a document
        raise RejectedInputError(
            f"{_files(command)}: the process that opened it ended with code {code}; do not use it, "
            f"{_ALLOW_MORE}."
        )
    if 0 <= code < 256:
        if out:
            _write(out)
        return code
    if -code in (signal.SIGINT, signal.SIGTERM):  # before it could say so
        return report(ended_by(-code), as_json)
    raise crashed(_files(command), -code, limited=True)


def crashed(what: object, number: int, *, limited: bool = False) -> RejectedInputError:
    """The error for a process that a signal of that number ended; `limited` if it was a child.

    What gets no memory can crash, whatever limits it.
    """
    limited = limited or inside()
    usable = f"do not use it, export it again, {_ALLOW_MORE}" if limited else _NOT_USABLE
    try:
        name = signal.Signals(number).name
    except ValueError:  # not POSIX
        name = f"code {abs(number)}"
    how, remedy = _TEXTS.get(name, (f"crashed ({name})", usable))
    return RejectedInputError(f"{what}: the process that opened it {how}; {remedy}.")


def explained(error: BaseException) -> BaseException:
    """The error to report: that of the limit in the place of one that the limit has caused.

    Outside of the child only a MemoryError is replaced.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, MemoryError) or (inside() and _lacked_memory(found)):
            return out_of_memory()
        found = found.__cause__ or found.__context__
    if inside() and isinstance(error, MissingExtraError) and _is_full():
        return out_of_memory()  # the engine is there, and could not be loaded
    return error


def _lacked_memory(error: BaseException) -> bool:
    """Whether that error of a library, which is no MemoryError, was for lack of main memory."""
    if isinstance(error, TRMError) or re.search("gpu|cuda", str(error), re.IGNORECASE):
        return False
    if not isinstance(error, SyntaxError):
        return lacks_memory(error)
    _lift()  # Python's compiler, short of memory, calls code wrong that is right
    try:
        compile(Path(error.filename or "").read_bytes(), "", "exec")
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def failed(error: BaseException) -> TRMError:
    """The error in the place of a traceback of the child.

    Where its memory is all but used up it is the limit's: of what Python does then, not everything
    ends in a MemoryError (a parser that gets no memory has raised ValueError).
    """
    if _is_full():
        return out_of_memory()
    return RejectedInputError(
        f"The command failed on this file ({type(error).__name__}: {first_line(error)}); do not "
        "use it, or export it again."
    )


def _is_full() -> bool:
    """Whether the memory of this process is all but used up."""
    try:
        bytearray(_SPARE)
    except MemoryError:
        return True
    return False


def out_of_memory() -> TRMError:
    """The error in the place of a MemoryError; the limit is lifted, so that it can be told."""
    if inside():
        _lift()
        return RejectedInputError(
            f"This needs more memory than {OPTION}-memory allows; allow more, or do not use it."
        )
    return TRMError("There is not enough memory for this; use a smaller batch, or another device.")


def _lift() -> None:
    """Lift the limit of memory of this process as far as it may."""
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _files(command: Sequence[str]) -> str:
    """The exported files in a command line, for messages."""
    found = [word for word in command[1:] if _is_artifact(Path(word))]
    return ", ".join(dict.fromkeys(found)) or "The command"


def _is_artifact(path: Path) -> bool:
    try:
        return path.exists() and (suffix_kind(path) or folder_kind(path)) is not None
    except OSError:
        return False


@contextmanager
def _temporary_files() -> Iterator[dict[str, str]]:
    """The variable that names the child's folder for temporary files; removed with what it left.

    Empty where no such folder can be made.
    """
    import tempfile

    try:
        folder = tempfile.mkdtemp(prefix="trm-")
    except OSError:
        yield {}
        return
    try:
        yield {"TMPDIR": folder}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals that would end this process are for the child, which says so and ends."""

    def later(number: int, frame: Any) -> None:
        timer = threading.Timer(_LATER, process.send_signal, (number,))
        timer.daemon = True
        timer.start()

    with handled(later):
        yield


def _write(out: bytes) -> None:
    sys.stdout.write(out.decode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.flush()
