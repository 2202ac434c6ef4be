"""`trm-export reference MODEL PUZZLES -o GOLDEN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    REFERENCE,
    AsJson,
    BatchSize,
    Blanks,
    Count,
    Force,
    ModelOptions,
    Output,
    ReferenceOptions,
    TaskName,
)
from trm_export.commands.support.trust_options import TrustOptions

Recorded = Annotated[Path, typer.Argument(help="A .keras file, or an exported file.")]

PuzzleFile = Annotated[
    Path | None,
    typer.Argument(
        help="Puzzles: CSV, text lines, .npz or a folder. Default: shipped test puzzles."
    ),
]
States = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="MB",
        help="MB of states to store of puzzles followed value by value.",
        rich_help_panel=REFERENCE,
    ),
]


@examples(
    "trm-export reference model.keras -o golden.npz",
    "trm-export reference model.keras puzzles.csv --count 2000 --require-gpu",
    "trm-export reference model-int8.tflite",
)
def reference(
    model: Recorded,
    options: ReferenceOptions,
    hints: ModelOptions,
    trust: TrustOptions,
    puzzles: PuzzleFile = None,
    output: Output = None,
    task: TaskName = None,
    blanks: Blanks = None,
    count: Count = 1000,
    states: States = 30,
    batch_size: BatchSize = 64,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Record what a model or an exported file computes, for a comparison without Keras.

    The same command resumes after a kill. Runs on a GPU if Keras (see KERAS_BACKEND) has one, in
    full float32.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit, progress, show

    trust.apply([model])
    with progress() as advance:
        found = te.record(
            model,
            puzzles,
            output,
            **vars(options),
            task=task,
            blanks=blanks,
            count=count,
            states=states,
            batch_size=batch_size,
            trust=hints.trusted,
            hints=hints.hints(),
            force=force,
            progress=advance,
        )
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables())
