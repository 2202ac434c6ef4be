"""Write a report: HTML, Markdown and JSON, all of them or none; or again, from its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trm_export.errors import RejectedInputError
from trm_export.files import refuse_overwrite, write_together
from trm_export.report.document_reader import read_report

SUFFIXES = (".html", ".md", ".json")


def report_files(path: Path) -> list[Path]:
    """What a report named `<path>.html` consists of."""
    return [path.with_suffix(suffix) for suffix in SUFFIXES]


def write_report(document: Mapping[str, Any], path: Path, *, force: bool = False) -> None:
    """Writes `<path>`, which ends in `.html`, and beside it the same with `.md` and `.json`.

    The same document gives the same bytes.

    Raises OverwriteError for files that this tool did not make, without ``force``.
    """
    for target in report_files(path):  # before seconds of drawing
        refuse_overwrite(target, force=force)
    from trm_export.report.render import html, markdown
    from trm_export.report.view import view

    shown = view(document)
    texts = (html(shown), markdown(shown), json.dumps(document, allow_nan=False) + "\n")
    with write_together(force=force) as writing:
        for target, text in zip(report_files(path), texts, strict=True):
            writing(target).write_text(text, encoding="utf-8", newline="\n")


def rewrite_report(source: Path, path: Path, *, force: bool = False) -> None:
    """`write_report` from the JSON of another one; RejectedInputError where it is not whole."""
    document = read_report(source)
    try:
        write_report(document, path, force=force)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RejectedInputError(
            f"{source}: is no whole parity report, its numbers do not go together "
            f"({type(error).__name__}: {error})"
        ) from error
