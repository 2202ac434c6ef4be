"""`trm-export report FILE.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.options import AsJson, Force


def report(
    document: Annotated[Path, typer.Argument(help="The .json of a report of `parity --report`.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The .html to write; beside it go .md and .json."),
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Make a parity report again, as HTML and Markdown, from its JSON alone."""
    from trm_export.commands.support.console import emit
    from trm_export.files import require_suffix
    from trm_export.report import report_files, rewrite_report

    target = document.with_suffix(".html") if output is None else output
    require_suffix(target, ".html")
    rewrite_report(document, target, force=force)
    written = report_files(target)
    if as_json:
        emit({"files": written})
    else:
        typer.echo(f"Report: {target} (and .md, .json)")
