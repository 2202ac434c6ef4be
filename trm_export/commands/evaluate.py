"""`trm-export evaluate MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    OUTPUT,
    PUZZLES,
    RUN,
    AsJson,
    Count,
    EngineName,
    Judge,
    ModelOptions,
    PuzzleOptions,
    TryOptions,
)
from trm_export.commands.support.trust_options import TrustOptions

Model = Annotated[Path, typer.Argument(help="A .keras file or an exported one.")]
Vote = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="COPIES",
        help="ARC: solve every grid in so many symmetries, and vote on the answers.",
        rich_help_panel=PUZZLES,
    ),
]
Abstain = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Give no answer that is right with a probability below P, and measure the risk of "
        "the others; for a file that was tuned with --confidence.",
        rich_help_panel=RUN,
    ),
]
Show = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="Show so many boards with their answers.", rich_help_panel=OUTPUT
    ),
]


@examples(
    "trm-export evaluate model.keras --blanks minimal",
    "trm-export evaluate model-int8.tflite --puzzles mine.csv --show 3",
    "trm-export evaluate model.onnx --puzzles hard --tries 8 --abstain 0.99",
)
def evaluate(
    model: Model,
    puzzles: PuzzleOptions,
    hints: ModelOptions,
    trust: TrustOptions,
    again: TryOptions,
    count: Count = 200,
    vote: Vote = None,
    judge: Judge = "exact",
    abstain: Abstain = None,
    engine: EngineName = None,
    show: Show = 0,
    as_json: AsJson = False,
) -> None:
    """Measure how many unseen puzzles (or ARC problems) a model or an exported file solves.

    Exit code 6 if NaN or infinity ended a puzzle.
    """
    import trm_export as te
    from trm_export.api.voting import refuse_named, unused
    from trm_export.commands.support import console
    from trm_export.commands.support.terminal_boards import show_boards
    from trm_export.errors import NonfiniteError

    if vote is not None:
        others = unused(
            puzzles=puzzles.puzzles, blanks=puzzles.blanks, judge=judge, abstain=abstain
        )
        refuse_named("--vote", [*others, *again.given()])
    trust.apply([model])
    with console.progress() as advance:
        found = te.evaluate(
            model,
            **vars(puzzles),
            **again.asked(),
            count=count,
            vote=vote,
            judge=judge,
            abstain=abstain,
            engine=engine,
            trust=hints.trusted,
            hints=hints.hints(),
            progress=advance,
        )
    if as_json:
        console.emit(found.to_json())
    else:
        console.show(*found.tables())
        show_boards(found.task, found.boards[:show])
    if not found:
        console.remark(f"Error: {found.nonfinite}")
        raise typer.Exit(NonfiniteError.exit_code)
