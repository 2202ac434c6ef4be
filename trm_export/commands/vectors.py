"""`trm-export vectors MODEL -o FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    AsJson,
    Blanks,
    Force,
    ModelFile,
    ModelOptions,
    Output,
    TaskName,
)

PuzzleFile = Annotated[
    Path | None,
    typer.Argument(
        help="Puzzles: CSV, text lines, .npz or a folder. Default: shipped test puzzles."
    ),
]


@examples(
    "trm-export vectors model.keras",
    "trm-export vectors model.keras -o vectors --json",
)
def vectors(
    model: ModelFile,
    hints: ModelOptions,
    puzzles: PuzzleFile = None,
    output: Output = None,
    task: TaskName = None,
    blanks: Blanks = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Write what a driver in any language must compute and refuse, as a folder of JSON and bytes.

    docs/contract.md specifies the folder.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit, progress, show

    with progress("Recording"):
        found = te.write_vectors(
            model,
            output,
            puzzles=puzzles,
            task=task,
            blanks=blanks,
            trust=hints.trusted,
            hints=hints.hints(task),
            force=force,
        )
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables())
