"""Ctrl-C and `kill` while a command is loading: its line or document, and its exit code.

For command lines only. Imports next to nothing, so that it is there first.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

_NAMES: dict[int, tuple[str, str]] = {
    signal.SIGINT: ("KeyboardInterrupt", "Interrupted."),
    signal.SIGTERM: ("TerminatedError", "Terminated."),
}


def end_at_signals() -> None:
    """From now on SIGINT and SIGTERM end this process, until the command handles them itself."""
    for number in _NAMES:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: object) -> NoReturn:
    """Raises nothing: what is being loaded might swallow it, or be shown in a traceback."""
    name, text = _NAMES[number]
    code, stream = 128 + number, 2
    if "--json" in sys.argv:
        details = f'"type": "{name}", "message": "{text}", "problems": [], "exit_code": {code}'
        stream, text = 1, f'{{"error": {{{details}}}}}'
    try:
        os.write(stream, f"{text}\n".encode())
    finally:
        os._exit(code)
