"""Write a report as HTML, Markdown and JSON together, or again from its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trm_export.errors import RejectedInputError, reason_of
from trm_export.files import refuse_overwrite, write_together
from trm_export.report.document_reader import read_report

SUFFIXES = (".html", ".md", ".json")


def report_files(path: Path) -> list[Path]:
    """The files of a report named `<path>.html`."""
    return [path.with_suffix(suffix) for suffix in SUFFIXES]


def write_report(document: Mapping[str, Any], path: Path, *, force: bool = False) -> None:
    """Writes `<path>`, which ends in `.html`, and beside it the same with `.md` and `.json`.

    The same document gives the same bytes.

    Raises OverwriteError for files that this tool did not make, without ``force``.
    """
    for target in report_files(path):  # before drawing, which takes seconds
        refuse_overwrite(target, force=force)
    from trm_export.report.render import html, markdown
    from trm_export.report.view import view

    shown = view(document)
    texts = (html(shown), markdown(shown), json.dumps(document, allow_nan=False) + "\n")
    with write_together(force=force) as writing:
        for target, text in zip(report_files(path), texts, strict=True):
            writing(target).write_text(text, encoding="utf-8", newline="\n")


def rewrite_report(source: Path, path: Path, *, force: bool = False) -> None:
    """`write_report` from the JSON of another report; RejectedInputError if that is damaged."""
    document = read_report(source)
    try:
        write_report(document, path, force=force)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RejectedInputError(
            f"{source}: a damaged parity report, whose numbers contradict each other "
            f"({type(error).__name__}: {reason_of(error)})."
        ) from error
