"""The command line: the only place that parses arguments, prints and exits.

A command is one module here with a function of the same name, and one line in `app.COMMANDS`.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run `trm-export` with the arguments of this process and exit with its exit code."""
    from trm_export.commands.support.app import run

    sys.exit(run(sys.argv[1:]))
