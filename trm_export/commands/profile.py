"""`trm-export profile FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import RUN, AsJson, Count, PuzzleOptions
from trm_export.commands.support.trust_options import TrustOptions

_Threads = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Threads of one operator.", rich_help_panel=RUN),
]


@examples(
    "trm-export profile artifacts/model-int8.onnx",
    "trm-export profile model.onnx --puzzles mine.csv --json",
)
def profile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An exported .onnx file.")],
    puzzles: PuzzleOptions,
    trust: TrustOptions,
    count: Count = 8,
    threads: _Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Show which operators and layers take the time of a file, while it solves puzzles.

    One puzzle at a time, measured by ONNX Runtime's own profiler. A layer has the time of its
    matrix product and of all that leads to it from the previous one.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit, sentences, show

    trust.apply([file])
    found = te.profile(file, **vars(puzzles), count=count, threads=threads)
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables())
        sentences(found.legend)
