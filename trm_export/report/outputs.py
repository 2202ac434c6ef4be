"""The files that a comparison writes: its document, and a report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trm_export.errors import UsageError
from trm_export.files import (
    atomic_write,
    refuse_document,
    refuse_overwrite,
    refuse_source,
    require_suffix,
    same_place,
)
from trm_export.report.write import report_files, write_report
from trm_runtime.json_values import plain


def refuse_targets(
    output: Path | None, report: Path | None, inputs: Iterable[Path] = (), *, force: bool
) -> None:
    """Raises what writing the document and the report would raise for their names.

    UsageError where one is an input, or where both are one file.
    """
    for path, suffix in ((output, ".json"), (report, ".html")):
        if path is not None:
            require_suffix(path, suffix)
    targets = [] if report is None else report_files(report)
    if output is not None and any(same_place(output, path) for path in targets):
        raise UsageError(f"--report writes {output}, too; leave out -o, or name another file.")
    sources = list(inputs)
    for path in (*targets, *([] if output is None else [output])):
        for source in sources:
            refuse_source(path, source, "an input")
        refuse_document(path)
        refuse_overwrite(path, force=force)


def write_outputs(
    single: Mapping[str, Any],
    whole: Mapping[str, Any],
    output: Path | None,
    report: Path | None,
    *,
    force: bool,
) -> None:
    """Writes what was asked for: the document `single`, and a report of the document `whole`."""
    if output is not None:
        with atomic_write(output, force=force) as new:
            text = json.dumps(plain(single), allow_nan=False)
            new.write_text(f"{text}\n", encoding="utf-8")
    if report is not None:
        write_report(plain(whole), report, force=force)
