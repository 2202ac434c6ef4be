"""What the export commands share: their options, and the one way they run an export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.model_options import ModelOptions, opened

if TYPE_CHECKING:
    from trm_export.exporters.export import ExportResult

ModelFile = Annotated[Path, typer.Argument(help="A .keras file.")]
Precision = Annotated[str, typer.Option(help="fp32, fp16, int8 or int8-static.")]
Batch = Annotated[str | None, typer.Option(help="Rows of a call: 1 or more, or free.")]
Granularity = Annotated[
    str, typer.Option(help="What one call does: step, the whole loop, or block (one pass).")
]
IntegerIO = Annotated[
    bool,
    typer.Option(
        "--integer-io", help="int8 states and scores at the border, for int8-static alone."
    ),
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
    said: ModelOptions,
    *,
    precision: str,
    batch: str | None,
    granularity: str,
    recursion: str | None,
    puzzle_table: str,
    integer_io: bool = False,
    engine: str | None = None,
    keep: list[str] | None = None,
    auto_keep: str | None = None,
    count: int = 0,
    force: bool,
    as_json: bool,
) -> None:
    """Export one file, say what came of it and print its paths."""
    from trm_export.api.frameworks import load_keras
    from trm_export.checkpoints.keras_file import require_keras
    from trm_export.commands.support.console import emit
    from trm_export.commands.support.keep_options import budget_of, run_auto_keep
    from trm_export.exporters.choices import Choices, refuse_target, refuse_words, target_name
    from trm_export.files import refuse_overwrite

    budget = budget_of(auto_keep)
    choices = Choices(
        precision, _rows(batch), granularity, recursion, engine, puzzle_table, integer_io,
        tuple(keep or ()),
    )  # fmt: skip
    wanted = choices if budget is None else replace(choices, keep=choices.keep or ("*",))
    refuse_words(kind, wanted)
    name = target_name(model.stem, kind, wanted)
    target = output or Path("artifacts") / name
    refuse_target(kind, target, model)
    refuse_overwrite(target, force=force)
    require_keras(model)
    load_keras()
    from trm_export.exporters.export import export, format_named
    from trm_export.exporters.probe import probe_puzzles

    trm = opened(model, said)
    if budget is not None:
        run_auto_keep(
            trm, target, kind, choices, budget=budget, count=count, source=model, force=force,
            as_json=as_json,
        )  # fmt: skip
        return
    result = export(
        trm, target, probe_puzzles(trm), format_named(kind), choices, force=force, source=model
    )
    if as_json:
        emit({**vars(result), "sidecar": result.sidecar})
        return
    say(result)
    print(result.path)
    for document in (result.sidecar, *result.documents, result.puzzle_table):
        if document is not None:
            print(document)


def _rows(batch: str | None) -> int | str | None:
    from trm_export.errors import UsageError

    if batch is None or batch == "free":
        return batch
    if not batch.isdecimal():
        raise UsageError(f"--batch must be 1 or more, or free, got {batch!r}.")
    return int(batch)


def say(result: ExportResult) -> None:
    """A remark on a finished export."""
    from trm_export.commands.support.console import bytes_text, remark

    remark(
        f"Exported in {result.seconds:.1f} s, {bytes_text(result.bytes)}, {result.recursion}; "
        f"checked in {result.check_seconds:.1f} s: {result.verdict}"
    )
