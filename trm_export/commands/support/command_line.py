"""Command lines as text: the present one, and those that a message ends with."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from trm_export.version import TOOL
from trm_runtime.message_text import argument

_USUAL = {
    "precision": "fp32",
    "granularity": "step",
    "puzzle_table": "internal",
    "target": "litert",
    "ports": "bool",
    "auto_keep_count": 64,
    "check": "auto",
}
"""Values of options that need not be written."""


def command_line() -> str:
    """The command line, which begins with the name of the tool."""
    return shlex.join([TOOL, *sys.argv[1:]])


def command(name: str, *paths: object, **options: Any) -> str:
    """Another command line, as a shell takes it.

    Options are named as in Python; None, False, no values and usual values are left out, and of
    several values each has the option.
    """
    words = [TOOL, name, *map(argument, paths)]
    for key, given in options.items():
        option = "-o" if key == "output" else f"--{key.replace('_', '-')}"
        for value in given if isinstance(given, list | tuple) else (given,):
            if value is True:
                words.append(option)
            elif value is not None and value is not False and value != _USUAL.get(key):
                words += [option, _short(value) if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _short(number: float) -> str:
    """The number in few digits, unless these are of another number."""
    text = f"{number:g}"
    return text if float(text) == number else repr(number)
