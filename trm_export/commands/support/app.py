"""The Typer application, and its exit codes.

Command modules import Typer and the standard library at their top and everything else inside
their function, so that `--help` is fast. The help is plain text for the same reason: importing
Typer's boxes takes as long as everything else together.
"""

from __future__ import annotations

import functools
import keyword
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from trm_export import leftovers
from trm_export.api.frameworks import DEBUG
from trm_export.commands.support.console import emit, warnings_as_remarks
from trm_export.commands.support.exits import INTERRUPTED, StoppedError, report
from trm_export.commands.support.help_text import PanelCommand, PanelGroup
from trm_export.commands.support.option_groups import grouped
from trm_export.version import TOOL, __version__
from trm_runtime.errors import exit_codes_text
from trm_runtime.failures import refuse_names
from trm_runtime.streams import prepare_streams

_BEGIN, _EXPORT, _CHECK = "Get a model", "Export it", "Check, tune and measure it"
_MODULES = {
    "demo": (_BEGIN, "demo"),
    "train": (_BEGIN, "train"),
    "import_": (_BEGIN, "import"),
    "export": (_EXPORT, "onnx", "tflite", "saved-model"),
    "c": (_EXPORT, "c"),
    "all": (_EXPORT, "all"),
    "parity": (_CHECK, "parity"),
    "reference": (_CHECK, "reference"),
    "vectors": (_CHECK, "vectors"),
    "report": (_CHECK, "report"),
    "tune": (_CHECK, "tune"),
    "plan": (_CHECK, "plan"),
    "bench": (_CHECK, "bench"),
    "profile": (_CHECK, "profile"),
    "evaluate": (_CHECK, "evaluate"),
    "inspect": (_CHECK, "inspect"),
    "sign": (_CHECK, "sign", "verify"),
}
"""Modules of `trm_export.commands`, the help panel of their commands, and the commands. Each is a
function of the same name, with `_` for `-`, and with a `_` at the end of a Python keyword."""

COMMANDS = tuple(name for _, *names in _MODULES.values() for name in names)


def _finishing(command: Callable[..., None]) -> Callable[..., None]:
    """It first finishes what a killed command left half done beside the files it is given."""

    @functools.wraps(command)
    def finishing(**values: Any) -> None:
        from trm_export.file_commit import recover

        for given in values.values():
            for path in given if isinstance(given, list | tuple) else (given,):
                if isinstance(path, Path):
                    recover(Path(os.path.realpath(path)).parent)
        command(**values)

    return finishing


app = typer.Typer(
    name=TOOL,
    cls=PanelGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=exit_codes_text(),
)
for _module, (_panel, *_names) in _MODULES.items():
    _loaded = import_module(f"trm_export.commands.{_module}")
    for _name in _names:
        _function = getattr(_loaded, _name.replace("-", "_") + "_" * keyword.iskeyword(_name))
        _command = _finishing(grouped(_function))
        app.command(_name, cls=PanelCommand, rich_help_panel=_panel)(_command)


def _show_version(show: bool) -> None:
    if show:
        typer.echo(f"{TOOL} {__version__}")
        raise typer.Exit


@app.callback(
    help="Export a Tiny Recursive Model from Keras to a device, and check that it computes the "
    "same there.\n\nStart with: trm-export demo. Help for a command: trm-export onnx --help. In "
    "Python: import trm_export."
)
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show tracebacks and engine logs (also {DEBUG}=1).")
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"


@functools.cache
def _parser() -> Any:
    """The application with the parsers of all commands, built once: it takes about 15 ms."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; raises only `SystemExit`.

    Without arguments it shows the help. With `--json` a failure is reported as a JSON document on
    stdout.
    """
    as_json = "--json" in arguments
    prepare_streams()
    leftovers.forget()
    try:
        if sorted(arguments) == ["--json", "--version"]:
            emit({"tool": TOOL, "version": __version__})
            return 0
        refuse_names(arguments)
        with warnings_as_remarks():
            words = list(arguments) or ["--help"]
            code = _parser()(args=words, prog_name=TOOL, standalone_mode=False)
        sys.stdout.flush()
    except StoppedError:
        return INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:
        return report(error, as_json)
    if code == INTERRUPTED:  # Typer returns this code for a KeyboardInterrupt
        return report(KeyboardInterrupt(), as_json)
    return code if isinstance(code, int) else 0
