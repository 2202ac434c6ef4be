"""The present command line."""

from __future__ import annotations

import shlex
import sys

from trm_export.version import TOOL


def command_line() -> str:
    """The command line, which begins with the name of the tool."""
    return shlex.join([TOOL, *sys.argv[1:]])
