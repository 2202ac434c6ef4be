"""`trm-export all MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    OUTPUT,
    AsJson,
    Check,
    Force,
    Granularity,
    ModelFile,
    ModelOptions,
    PuzzleTable,
    TaskName,
)

_Folder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="The folder for the files.", file_okay=False, rich_help_panel=OUTPUT
    ),
]


@examples(
    "trm-export all model.keras",
    "trm-export all model.keras --granularity loop -o exports --json",
)
def all(
    model: ModelFile,
    *,
    granularity: Granularity = "step",
    puzzle_table: PuzzleTable = "internal",
    check: Check = "auto",
    hints: ModelOptions,
    task: TaskName = None,
    output: _Folder = Path("artifacts"),
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export every format and precision, check each, and show them in one table."""
    import trm_export
    from trm_export.commands.support.command_line import command
    from trm_export.commands.support.console import emit, progress, remark, sentences, show
    from trm_export.commands.support.cures import cure_of_export, lines
    from trm_export.errors import ParityError
    from trm_runtime.message_text import counted

    with progress() as advance:
        found = trm_export.export_all(
            model,
            output,
            granularity=granularity,
            puzzle_table=puzzle_table,
            check=check,
            trust=hints.trusted,
            hints=hints.hints(task),
            force=force,
            progress=advance,
        )
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables())
        remark("Seconds: export + check. Error: largest relative L2 of a single step.")
        for reason in found.reasons:
            sentences(reason)
        if found.lost:
            sentences(found.lost)
        if not found:
            failed = counted(len(found.failed), "file")
            remark(f"Error: {failed} failed the check against Keras.")
        graph: dict[str, str | None] = {"granularity": granularity, "puzzle_table": puzzle_table}
        given = {**graph, "check": check, "task": task}
        cures = (
            cure_of_export(
                model,
                {
                    "format": one.format,
                    "precision": one.precision,
                    **given,
                    "output": one.path,
                    **vars(hints),
                },
            )
            for one in found.failed
        )
        for line in lines(cures):
            remark(line)
        paths = [one.path for one in found.results]
        if paths:
            remark(f"Next: {command('parity', model, *paths, task=task, **vars(hints))}")
        if not hints.trusted:
            source = command("c", model, output=output / f"{model.stem}_c")
            remark(f"C source is not in this set; it is made by: {source}")
    if not found:
        raise typer.Exit(ParityError.exit_code)
