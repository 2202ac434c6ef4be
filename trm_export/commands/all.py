"""`trm-export all MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.export_options import Granularity, ModelFile, PuzzleTable
from trm_export.commands.support.model_options import (
    HaltRule,
    HaltThreshold,
    Identifiers,
    MaxSteps,
    ModelOptions,
    SeqLen,
    TaskName,
    TrustModule,
    opened,
)
from trm_export.commands.support.options import AsJson, Force

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trm_export.exporters.export_all import SetEntry

Folder = Annotated[
    Path, typer.Option("--output", "-o", help="The folder for the files.", file_okay=False)
]


def all(
    model: ModelFile,
    output: Folder = Path("artifacts"),
    granularity: Granularity = "step",
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    halt_threshold: HaltThreshold = None,
    identifiers: Identifiers = None,
    task: TaskName = None,
    puzzle_table: PuzzleTable = "internal",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export every format and precision, check each, and show them in one table."""
    from trm_export.checkpoints.keras_file import require_keras
    from trm_export.commands.support.console import emit, progress, remark
    from trm_export.commands.support.frameworks import load_keras
    from trm_export.errors import ParityError
    from trm_export.exporters.choices import FORMATS, PRECISIONS, Choices, refuse_words

    refuse_words(next(iter(FORMATS)), Choices(granularity=granularity))
    require_keras(model)
    load_keras()
    from trm_export.exporters.export_all import export_all
    from trm_export.exporters.probe import probe_puzzles

    said = ModelOptions(
        trust_module, seq_len, max_steps, halt_rule, identifiers, task, halt_threshold
    )
    trm, entries = opened(model, said), []
    with progress("Exporting", len(FORMATS) * len(PRECISIONS)) as advance:
        for entry in export_all(
            trm, model.stem, output, probe_puzzles(trm), granularity=granularity,
            puzzle_table=puzzle_table, force=force, source=model,
        ):  # fmt: skip
            entries.append(entry)
            advance(len(entries), f"{entry.format} {entry.precision}")
    failed = [entry for entry in entries if entry.failed]
    if as_json:
        emit({"files": entries})
    else:
        _show(entries)
        if failed:
            remark(f"Error: {len(failed)} of the files do not compute what Keras computes.")
    if failed:
        raise typer.Exit(ParityError.exit_code)


def _show(entries: Sequence[SetEntry]) -> None:
    from trm_export.commands.support.console import bytes_text, remark, show_columns

    rows = []
    for entry in entries:
        made = entry.result
        if made is None:
            verdict = "FAILED" if entry.failed else "refused"
            rows.append((entry.format, entry.precision, "-", "-", "-", verdict))
            continue
        error = "-" if made.forced_error is None else f"{made.forced_error:.1e}"
        seconds = f"{made.seconds:.1f} + {made.check_seconds:.1f}"
        size = bytes_text(made.bytes)
        rows.append((entry.path.name, entry.precision, size, seconds, error, "PASSED"))
    heads = ("file", "precision", "size", "seconds", "error", "verdict")
    show_columns(str(entries[0].path.parent), heads, rows, ("file", "precision", "verdict"))
    remark("Seconds of export + check; error: the worst of a single step, relative L2.")
    for reason in dict.fromkeys(entry.refused or entry.failed for entry in entries):
        if reason:
            remark(reason)
