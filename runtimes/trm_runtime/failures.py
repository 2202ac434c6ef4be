"""Turn an exception into one sentence (or, with `--json`, one document) and an exit code.

For command lines only. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import NoReturn

from trm_runtime.errors import TRMError, UsageError
from trm_runtime.streams import discard, has_no_reader, output_problem

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Raises UsageError for words that it does not understand, and leaves it to others to say."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse with what is wrong."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def report(error: BaseException, as_json: bool) -> int:
    """Say what happened and return the exit code.

    For people: `error: ...` on stderr. With `as_json`, as `trm-export` does: `{"error": {"type",
    "message", "problems", "exit_code"}}` on stdout, unless that is what cannot be written.
    """
    if has_no_reader(error):
        discard(sys.stdout)
        return 0
    unwritten = output_problem(error) if isinstance(error, OSError) else None
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else TRMError.exit_code
    code = getattr(error, "exit_code", code)
    if not as_json or unwritten is not None:
        label = "" if code == INTERRUPTED else "error: "
        say(f"{label}{unwritten or _message(error)}")
        return code
    details = {
        "type": type(error).__name__,
        "message": getattr(error, "summary", _message(error)),
        "problems": getattr(error, "problems", ()),
    }
    try:
        print(json.dumps({"error": {**details, "exit_code": code}}), flush=True)
    except OSError as other:
        report(other, as_json=False)
    return code


def _message(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)


def say(text: str) -> None:
    """A line on standard error, if that can be written."""
    try:
        print(text, file=sys.stderr)
    except OSError:
        discard(sys.stderr)
