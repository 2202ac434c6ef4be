"""`trm-export report FILE.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import OUTPUT, AsJson, Force


@examples(
    "trm-export report report.json",
    "trm-export report report.json -o elsewhere/again.html",
)
def report(
    document: Annotated[
        Path, typer.Argument(help="The .json file of a report by `parity --report`.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The .html file to write, with .md and .json beside it. Default: beside the "
            "document.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Make a parity report again, as HTML and Markdown, from its JSON document only."""
    import trm_export as te
    from trm_export.commands.support.console import emit

    written = te.write_report(document, output, force=force)
    if as_json:
        emit({"files": written})
    else:
        typer.echo(f"Report: {written[0]} (and .md, .json)")
