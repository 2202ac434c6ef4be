"""`trm-export tune ARTIFACT`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    OUTPUT,
    RUN,
    AsJson,
    Count,
    Force,
    Judge,
    PuzzleOptions,
    TryOptions,
)
from trm_export.commands.support.trust_options import TrustOptions

Artifact = Annotated[Path, typer.Argument(help="The exported file, of granularity step or block.")]
Lose = Annotated[
    float,
    typer.Option(
        min=0,
        max=100,
        metavar="POINTS",
        help="Points of accuracy that fewer steps may cost.",
        rich_help_panel=RUN,
    ),
]
Settled = Annotated[
    bool,
    typer.Option(
        "--settled",
        help="Measure how far states move, and choose the threshold of --halt settled too.",
        rich_help_panel=RUN,
    ),
]
Confidence = Annotated[
    bool,
    typer.Option(
        "--confidence",
        help="Fit how confident an answer is, for --abstain; take puzzles like those to come.",
        rich_help_panel=RUN,
    ),
]
Target = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the tuned file here, and leave the other unchanged.",
        rich_help_panel=OUTPUT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show the curve and write nothing.", rich_help_panel=OUTPUT),
]


@examples(
    "trm-export tune model-int8.tflite",
    "trm-export tune model.onnx --tries 8 --blanks hard",
    "trm-export tune model.onnx --puzzles hard --settled --confidence",
)
def tune(
    artifact: Artifact,
    puzzles: PuzzleOptions,
    trust: TrustOptions,
    again: TryOptions,
    count: Count = 400,
    lose: Lose = 0.25,
    settled: Settled = False,
    confidence: Confidence = False,
    judge: Judge = "exact",
    output: Target = None,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Choose a new halting threshold of an exported file, by accuracy against mean steps.

    The file runs on validation puzzles with solutions, not on test puzzles; the threshold is
    written into its contract. Needs no Keras.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit, progress
    from trm_export.commands.support.tune_tables import show_tuning

    trust.apply([artifact])
    with progress() as advance:
        found = te.tune(
            artifact,
            **vars(puzzles),
            **again.asked(),
            count=count,
            lose=lose,
            settled=settled,
            confidence=confidence,
            judge=judge,
            output=output,
            dry_run=dry_run,
            force=force,
            progress=advance,
        )
    if as_json:
        emit(found.to_json())
        return
    show_tuning(found)
    for path in found.files:
        print(path)
