"""The command line that is running, as a person would type it."""

from __future__ import annotations

import shlex
import sys

from trm_export.version import TOOL


def command_line() -> str:
    """It again, with the name of the tool in front."""
    return shlex.join([TOOL, *sys.argv[1:]])
