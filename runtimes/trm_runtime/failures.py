"""The message of an exception (or, with `--json`, one document) and its exit code.

For command lines only. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from trm_runtime.errors import NonfiniteError, OldFileWarning, TRMError, UsageError
from trm_runtime.streams import discard, output_problem

CHANGED_GIVENS = 7  # all puzzles are answered, but an answer changes what its puzzle gives
OUT_OF_TIME = 8  # the deadline ended a puzzle before its model did
INTERRUPTED, TERMINATED = 130, 143


def answers_code(reasons: Mapping[str, int], changed: int) -> int:
    """The exit code of answers: how many stopped for each reason, and how many change a given."""
    if reasons.get("nonfinite"):
        return NonfiniteError.exit_code
    if reasons.get("deadline"):
        return OUT_OF_TIME
    return CHANGED_GIVENS if changed else 0


class TerminatedError(KeyboardInterrupt):
    """`kill` has ended a command."""

    exit_code = TERMINATED


def ended_by(number: int) -> KeyboardInterrupt:
    """The exception of a command that SIGINT or SIGTERM ends."""
    return TerminatedError() if number == signal.SIGTERM else KeyboardInterrupt()


class Parser(argparse.ArgumentParser):
    """Raises UsageError for wrong arguments, and OSError for a full standard output.

    Options have to be written out, because some of them are looked for before they are parsed.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(allow_abbrev=False, **given)

    def error(self, message: str) -> NoReturn:
        """Called by argparse with the problem."""
        raise UsageError(f"{message[:1].upper()}{message[1:]} (see `{self.prog} --help`).")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Called by argparse with a help or a version; its own discards the errors of a disk."""
        print(message, end="", file=file, flush=True)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """`--threads` and `--engine`."""
    add = parser.add_argument
    add("--threads", type=int, metavar="N", help="threads of the engine (default: its own choice)")
    add("--engine", metavar="NAME", help="one of several engines for the file, such as openvino, "
        "or openvino:bf16 (default: the first that is installed)")  # fmt: skip


unfinished: list[str] = []
"""What ends the part of a JSON document that is on standard output already, before another key."""


def refuse_names(arguments: Sequence[str]) -> None:
    """UsageError for an argument that is not UTF-8: engines and JSON cannot name such a file."""
    for text in arguments:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{text!r} is not UTF-8; rename the file or folder.") from None


def report(error: BaseException, as_json: bool) -> int:
    """Print the error and return the exit code.

    As text: `Error: ...` on stderr. With `as_json`, as `trm-export` does: `{"error": {"type",
    "message", "problems", "exit_code"}}` on stdout, unless stdout cannot be written. A document
    that is begun there ends with this key. A broken pipe is no error: that of messages to a host,
    or of a program of one's own without `prepare_streams`.
    """
    if isinstance(error, BrokenPipeError):
        discard(sys.stdout)
        return 0
    unwritten = output_problem(error) if isinstance(error, OSError) else None
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else TRMError.exit_code
    code = getattr(error, "exit_code", code)
    if not as_json or unwritten is not None:
        label = "" if code in (INTERRUPTED, TERMINATED) else "Error: "
        say(f"{label}{unwritten or _message(error)}")
        return code
    details = {
        "type": type(error).__name__,
        "message": getattr(error, "summary", _message(error)),
        "problems": getattr(error, "problems", ()),
    }
    text = json.dumps({"error": {**details, "exit_code": code}})
    try:
        print(f"{unfinished[-1] if unfinished else '{'}{text[1:]}", flush=True)
    except OSError as other:
        report(other, as_json=False)
    unfinished.clear()
    return code


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """In the block, an OldFileWarning is a line on standard error, once for each file."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, OldFileWarning):
            say(str(message))
        else:
            others(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("default", OldFileWarning)
        warnings.showwarning = show
        yield


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Terminated." if isinstance(error, TerminatedError) else "Interrupted."
    if isinstance(error, OSError):
        return os_message(error)
    return str(error)


def os_message(error: OSError) -> str:
    """The file and the reason, as a sentence."""
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}."


def say(text: str) -> None:
    """A line on standard error, if that can be written."""
    try:
        print(text, file=sys.stderr)
    except OSError:
        discard(sys.stderr)
