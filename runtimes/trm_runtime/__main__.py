"""`python -m trm_runtime ...`: the commands of `command_line`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from trm_runtime.first_signals import end_at_signals
from trm_runtime.lean_import import own_process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from trm_runtime.command_line import run  # takes longer to load than this module

    return run(arguments)


if __name__ == "__main__":
    end_at_signals()
    own_process()
    sys.exit(main())
