"""`python -m trm_runtime serve MODEL`: a step server, see docs/contract.md."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from trm_runtime.errors import exit_codes_text
from trm_runtime.failures import Parser, add_engine_options
from trm_runtime.trust import add_options, require_options


def parser() -> Parser:
    """The options of the command."""
    command = Parser(
        prog="python -m trm_runtime serve",
        description="Answer requests for steps on standard input, for `check --command`.",
        epilog=exit_codes_text(),
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="exported model, such as model.onnx")
    add_engine_options(command)
    add_options(command)
    return command


def run(options: argparse.Namespace) -> int:
    """Answer until the input ends; returns the exit code."""
    from trm_runtime.servers.serving import serve_file

    demanded = partial(require_options, options)
    serve_file(Path(options.model), options.threads, options.engine, demanded)
    return 0
