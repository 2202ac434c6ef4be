"""What the export commands share: their options, and the one way they run an export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.models import Said, opened

if TYPE_CHECKING:
    from trm_export.export.export import ExportResult

ModelFile = Annotated[Path, typer.Argument(help="A .keras file.")]
Precision = Annotated[str, typer.Option(help="fp32, fp16, int8 or int8-static.")]
Batch = Annotated[str | None, typer.Option(help="Rows of a call: a number, or free.")]
Granularity = Annotated[
    str, typer.Option(help="What one call does: step, the whole loop, or block (one pass).")
]
Recursion = Annotated[
    str | None, typer.Option(help="unrolled or rolled; what measured best if not given.")
]
PuzzleTable = Annotated[
    str,
    typer.Option(help="internal, or external: puzzle embeddings in a file beside the graph."),
]


def run_export(
    kind: str,
    model: Path,
    output: Path | None,
    said: Said,
    *,
    precision: str,
    batch: str | None,
    granularity: str,
    recursion: str | None,
    puzzle_table: str,
    engine: str | None = None,
    force: bool,
    as_json: bool,
) -> None:
    """Export one file, say what came of it and print its paths."""
    from trm_export.commands.console import emit
    from trm_export.commands.frameworks import load_keras
    from trm_export.errors import UsageError

    if batch not in (None, "free") and not str(batch).isdecimal():
        raise UsageError(f"--batch is a number or free, got {batch!r}.")
    load_keras()
    from trm_export.export.every import target_name
    from trm_export.export.export import Choices, export, format_named
    from trm_export.export.probe import probe_puzzles

    known = format_named(kind)
    rows = int(batch) if batch is not None and batch.isdecimal() else batch
    choices = Choices(precision, rows, granularity, recursion, engine, puzzle_table)
    trm = opened(model, said)
    name = target_name(model.stem, known, choices.precision, choices.granularity)
    target = output or Path("artifacts") / name
    result = export(trm, target, probe_puzzles(trm), known, choices, force=force)
    if as_json:
        emit({**vars(result), "sidecar": result.sidecar})
        return
    say(result)
    print(result.path)
    for document in (result.sidecar, *result.documents, result.puzzle_table):
        if document is not None:
            print(document)


def say(result: ExportResult) -> None:
    """A remark on a finished export."""
    from trm_export.commands.console import bytes_text, remark

    remark(
        f"Exported in {result.seconds:.1f} s, {bytes_text(result.bytes)}, {result.recursion}; "
        f"checked in {result.check_seconds:.1f} s: {result.verdict}"
    )
