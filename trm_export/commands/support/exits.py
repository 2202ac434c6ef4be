"""Turn an exception into one sentence (or, with `--json`, one document) and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from trm_export.api.frameworks import DEBUG
from trm_export.commands.support.console import emit, printable, stderr
from trm_export.errors import TRMError, UsageError
from trm_runtime.streams import discard, has_no_reader, output_problem

INTERRUPTED = 130


class StoppedError(Exception):
    """A command was interrupted, has kept what it had and has said so: nothing is left but 130."""


def report(error: BaseException, as_json: bool) -> int:
    """Say what happened and return the exit code.

    For people: `Error: ...` on stderr. With `as_json`: `{"error": {"type", "message", "problems",
    "exit_code"}}` on stdout, so that stdout is always exactly one document. A traceback appears
    only when the environment variable of `DEBUG` is set.
    """
    if has_no_reader(error):
        discard(sys.stdout)
        return 0
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    unwritten = output_problem(error) if isinstance(error, OSError) else None
    code, message = (TRMError.exit_code, f"S{unwritten[1:]}.") if unwritten else _explain(error)
    problems = list(getattr(error, "problems", ()))
    if as_json and not unwritten:
        name = type(error).__name__
        details: dict[str, Any] = {"type": name, "message": message, "problems": problems}
        emit({"error": {**details, "exit_code": code}})
    else:
        _print(code, [message, *(f"  - {problem}" for problem in problems)])
    return code


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message; `problems` of an error are shown apart from its summary."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "Interrupted."
    if isinstance(error, TRMError):
        return error.exit_code, str(getattr(error, "summary", error))
    if hasattr(error, "format_message"):  # Typer's own usage errors
        return UsageError.exit_code, _usage(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return TRMError.exit_code, f"{name}{error.strerror or error}"
    if isinstance(error, MemoryError):
        return TRMError.exit_code, "There is not enough memory for this."
    bug = f"{type(error).__name__}: {error}".rstrip(": ")
    return TRMError.exit_code, f"Unexpected {bug} (a bug; {DEBUG}=1 shows where)"


def _usage(error: Any) -> str:
    message = str(error.format_message()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    return f"{message.rstrip('.')} (see {context.command_path} --help)"


def _print(code: int, lines: list[str]) -> None:
    from rich.text import Text

    label = Text("" if code == INTERRUPTED else "Error: ", style="bold red")
    stderr().print(label + Text(printable("\n".join(lines))))
