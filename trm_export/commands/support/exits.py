"""The message of an exception (or, with `--json`, one document) and its exit code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from trm_export import leftovers
from trm_export.api.frameworks import DEBUG
from trm_export.commands.support.console import emit, print_stderr, printable, remark
from trm_export.errors import TRMError, UsageError
from trm_runtime.failures import os_message
from trm_runtime.isolation import explained, failed, inside, out_of_memory
from trm_runtime.streams import output_problem

INTERRUPTED = 130
_UNPARSED = re.compile(r", unable to parse string as an? \w+")  # what Typer says of a number


class UnwrittenError(Exception):
    """A file beside the result of a command cannot be written; the cause says which.

    With `--json` the result is still the document, with the key `error` as well.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        super().__init__("A file beside the result cannot be written.")


class StoppedError(Exception):
    """A command was interrupted, and has saved and reported it; only exit code 130 is left."""


def report(error: BaseException, as_json: bool) -> int:
    """Print the error and return the exit code.

    As text: `Error: ...` on stderr, of many problems the first, and the notes of the error. With
    `as_json`: `{"error": {"type", "message", "problems", "exit_code"}}` on stdout, and `notes` if
    there are any, so that stdout is always exactly one document.
    Of an UnwrittenError its cause, behind the keys of its document. A traceback is shown only if
    the environment variable of `DEBUG` is set.
    """
    result: Mapping[str, Any] = {}
    if isinstance(error, UnwrittenError) and error.__cause__ is not None:
        result, error = error.document, error.__cause__
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    if inside():
        error = explained(error)
        error = error if _is_expected(error) else failed(error)
    unwritten = output_problem(error) if isinstance(error, OSError) else None
    code, message = (TRMError.exit_code, unwritten) if unwritten else _explain(error)
    problems = list(getattr(error, "problems", ()))
    notes = list(getattr(error, "__notes__", ())) if isinstance(error, TRMError) else []
    notes += leftovers.kept()
    if as_json and not unwritten:
        name = type(error).__name__
        details: dict[str, Any] = {"type": name, "message": message, "problems": problems}
        details |= {"notes": notes} if notes else {}
        try:
            emit({**result, "error": {**details, "exit_code": code}})
            sys.stdout.flush()
        except OSError as other:
            report(other, as_json=False)
    else:
        _print(code, str(error) if problems else message)
        for note in notes:
            remark(note)
    return code


def _is_expected(error: BaseException) -> bool:
    """Whether the error has a message for users: ours, the system's or Typer's."""
    expected = isinstance(error, (TRMError, OSError, KeyboardInterrupt))
    return expected or hasattr(error, "format_message")


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message, without the `problems` of an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "Interrupted."
    if isinstance(error, TRMError):
        return error.exit_code, str(getattr(error, "summary", error))
    if hasattr(error, "format_message"):  # Typer's own usage errors
        return UsageError.exit_code, _usage(error)
    if isinstance(error, OSError):
        return TRMError.exit_code, os_message(error)
    if isinstance(error, MemoryError):
        lacking = out_of_memory()
        return lacking.exit_code, str(lacking)
    bug = f"{type(error).__name__}: {error}".rstrip(": .")
    return TRMError.exit_code, f"Unexpected {bug}. This is a bug; {DEBUG}=1 shows its traceback."


def _usage(error: Any) -> str:
    message = _UNPARSED.sub("", str(error.format_message()).replace("Value error, ", ""))
    message = message.replace("Input should be", "it must be")
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    return f"{message.rstrip('.')} (see `{context.command_path} --help`)."


def _print(code: int, message: str) -> None:
    from rich.text import Text

    label = Text("" if code == INTERRUPTED else "Error: ", style="bold red")
    print_stderr(label + Text(printable(message)))
