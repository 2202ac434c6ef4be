"""`trm-export bench MODEL [FILE...]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    AsJson,
    Count,
    EngineName,
    Force,
    JsonFile,
    ModelOptions,
    PuzzleOptions,
    TryOptions,
)
from trm_export.commands.support.trust_options import TrustOptions

Model = Annotated[
    str, typer.Argument(help="A .keras file, or a preset such as paper-sudoku-mlp (costs only).")
]
Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE", help="Exported files. Default: all formats and precisions are exported."
    ),
]


@examples(
    "trm-export bench model.keras model.onnx model-int8.tflite",
    "trm-export bench paper-sudoku-mlp -o bench.json",
)
def bench(
    model: Model,
    puzzles: PuzzleOptions,
    hints: ModelOptions,
    trust: TrustOptions,
    again: TryOptions,
    files: Files = None,
    count: Count = 200,
    engine: EngineName = None,
    output: JsonFile = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Measure load and step time, memory, accuracy and equality with Keras for each file.

    A file that cannot be measured is listed after the others; the exit code is the highest of the
    failures.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit, progress, remark, sentences, show

    trust.apply(files or ())
    with progress() as advance:
        found = te.bench(
            model,
            files or (),
            **vars(puzzles),
            **again.asked(),
            count=count,
            engine=engine,
            output=output,
            trust=hints.trusted,
            hints=hints.hints(),
            force=force,
            progress=advance,
        )
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables()[:1] if found.rows else ())
        errors = [*(failure.reason for failure in found.failures), *map(str, found.nonfinite)]
        sentences(found.legend)
        for reason in errors:
            remark(f"Error: {reason}")
    if not found:
        raise typer.Exit(found.exit_code)
