"""`trm-export all MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.exporting import Granularity, ModelFile
from trm_export.commands.options import AsJson, Force

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trm_export.export.every import Made

Folder = Annotated[
    Path, typer.Option("--output", "-o", help="The folder for the files.", file_okay=False)
]


def all(
    model: ModelFile,
    output: Folder = Path("artifacts"),
    granularity: Granularity = "step",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export every format and precision, check each, and show them in one table."""
    from trm_export.commands.console import emit, progress
    from trm_export.commands.frameworks import load_keras
    from trm_export.errors import ParityError
    from trm_export.export.choices import FORMATS, PRECISIONS, Choices, refuse_words
    from trm_export.keras_file import require_keras

    refuse_words(FORMATS[0], Choices(granularity=granularity))
    require_keras(model)
    load_keras()
    from trm_export.checkpoint import load_model
    from trm_export.export.every import export_all
    from trm_export.export.probe import probe_puzzles

    trm, entries = load_model(model), []
    with progress("Exporting", len(FORMATS) * len(PRECISIONS)) as advance:
        for entry in export_all(
            trm, model.stem, output, probe_puzzles(trm), granularity=granularity, force=force,
            source=model,
        ):  # fmt: skip
            entries.append(entry)
            advance(len(entries), f"{entry.format} {entry.precision}")
    if as_json:
        emit({"files": entries})
    else:
        _show(entries)
    failed = [entry for entry in entries if entry.failed]
    if failed:
        raise ParityError(f"{len(failed)} of the files do not compute what Keras computes.")


def _show(entries: Sequence[Made]) -> None:
    from trm_export.commands.console import bytes_text, remark, show_columns

    rows = []
    for entry in entries:
        made = entry.result
        if made is None:
            text = "FAILED" if entry.failed else "not to be had"
            rows.append((entry.format, entry.precision, "-", "-", "-", "-", text))
            continue
        error = f"{made.forced_error:.1e}" if made.forced_error else "-"
        seconds = (f"{made.seconds:.1f}", f"{made.check_seconds:.1f}")
        size = bytes_text(made.bytes)
        rows.append((entry.path.name, entry.precision, size, *seconds, error, "PASSED"))
    heads = ("file", "precision", "size", "export s", "check s", "forced error", "verdict")
    show_columns(str(entries[0].path.parent), heads, rows, ("file", "precision", "verdict"))
    for entry in entries:
        if entry.refused or entry.failed:
            remark(entry.refused or entry.failed or "")
