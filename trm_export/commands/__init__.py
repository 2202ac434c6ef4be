"""The command line: the only place that parses arguments, prints and exits.

A command is a function here with the name of the command, and one line in `support.app`. It calls
the public API, shows the result, and nothing else; what commands share is in `support`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Run `trm-export` with the arguments of this process and exit with its exit code."""
    from trm_runtime.first_signals import end_at_signals

    end_at_signals()
    from trm_runtime import isolation

    if isolation.OPTION in sys.argv and not isolation.inside():
        sys.exit(_isolated())
    from trm_export.commands.support import interruption
    from trm_runtime.lean_import import own_process

    own_process()
    interruption.install(as_json="--json" in sys.argv)
    from trm_export.commands.support.app import run

    interruption.leave(run(sys.argv[1:]))


def _isolated() -> int:
    """The same command line in a child process, whose crash is an error."""
    from trm_export.api.build_servers import refusals, refuse, refuse_growing
    from trm_export.commands.support.exits import report
    from trm_runtime import isolation
    from trm_runtime.streams import prepare_streams

    prepare_streams()
    as_json = "--json" in sys.argv
    junit, summary = _file_given("--junit"), _file_given("--summary")
    force = "--force" in sys.argv
    try:
        refuse(junit, ".xml", force=force)
        refuse_growing(summary, [])
        with refusals(junit, summary, force=force):
            return isolation.rerun([sys.executable, *sys.orig_argv[1:]], as_json=as_json)
    except Exception as error:
        return report(error, as_json)


def _file_given(option: str) -> Path | None:
    """The path after that option, the last one; None without it."""
    given = None
    for word, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == option and (equals or following):
            given = Path(value if equals else following)
    return given
