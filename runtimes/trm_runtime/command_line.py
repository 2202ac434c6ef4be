"""`python -m trm_runtime MODEL PUZZLES`: solve puzzles on a device, print a line for each.

`python -m trm_runtime doctor` shows what this device can run, and `python -m trm_runtime check`
compares a model with its recorded reference. `python -m trm_runtime serve` is a step server.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from trm_runtime import __version__, isolation
from trm_runtime.errors import MissingExtraError, TRMError
from trm_runtime.failures import Parser, refuse_names, report, warnings_as_lines
from trm_runtime.memory import return_large_blocks
from trm_runtime.streams import StatusLine, prepare_streams
from trm_runtime.watchdog import raised_at_signals


def _doctor_parser() -> Parser:
    parser = Parser(
        prog="python -m trm_runtime doctor",
        description="Show which engines are installed, what they open, and what is missing.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, errors included"
    )
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    prepare_streams()
    return_large_blocks()
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser, command, given = _command(given)
    as_json = "--json" in given
    if sorted(given) == ["--json", "--version"]:
        print(json.dumps({"tool": "trm-runtime", "version": __version__}))
        return 0
    try:
        refuse_names(given)
        options = parser.parse_args(given)
        as_json = getattr(options, "json", False)
        if hasattr(options, "isolate"):
            limits = options.isolate_memory, options.isolate_seconds
            isolation.refuse_idle_limits(options.isolate, *limits)
        if getattr(options, "isolate", False) and not isolation.inside():
            words = sys.argv[1:] if arguments is None else arguments
            return isolation.rerun([sys.executable, "-m", "trm_runtime", *words], as_json=as_json)
        with raised_at_signals(as_json), warnings_as_lines():
            if getattr(options, "isolate", False):
                isolation.confine(options.isolate_memory, options.isolate_seconds)
            code = command(options)
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        found = isolation.explained(error)
        if not isinstance(found, (TRMError, OSError, KeyboardInterrupt)):
            if not isolation.inside():
                raise
            found = isolation.failed(found)
        return report(found, as_json)
    return code


def _command(given: list[str]) -> tuple[Parser, Callable[[argparse.Namespace], int], list[str]]:
    """The parser and the function of a command line, and its arguments."""
    if given[:1] == ["doctor"]:
        return _doctor_parser(), _doctor, given[1:]
    if given[:1] == ["check"]:
        from trm_runtime import check_command

        server = any(word.partition("=")[0] == check_command.COMMAND for word in given)
        run = check_command.run_server if server else check_command.run
        return check_command.parser(server=server), run, given[1:]
    if given[:1] == ["serve"]:
        from trm_runtime import serve_command

        return serve_command.parser(), serve_command.run, given[1:]
    from trm_runtime import solve_command

    return solve_command.parser(), solve_command.run, given


def _doctor(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from trm_runtime.doctor import examine, report_text

    with StatusLine() as line:
        machine = examine(tried=True, tell=line.show)
    print(json.dumps(asdict(machine)) if options.json else report_text(machine))
    return MissingExtraError.exit_code if machine.broken else 0
