"""The command line: the only place that parses arguments, prints and exits.

A command is a function here with the name of the command, and one line in `support.app`. It calls
the public API, shows the result, and nothing else; what commands share is in `support`.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run `trm-export` with the arguments of this process and exit with its exit code."""
    from trm_export.commands.support import interruption

    interruption.install(as_json="--json" in sys.argv)
    from trm_export.commands.support.app import run

    interruption.leave(run(sys.argv[1:]))
