"""`trm-export parity MODEL FILES...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    OUTPUT,
    PUZZLES,
    REFERENCE,
    RUN,
    AsJson,
    BatchSize,
    EngineName,
    Force,
    JsonFile,
    ModelFile,
    ModelOptions,
    PuzzleOptions,
    ReferenceOptions,
    TryOptions,
)
from trm_export.commands.support.trust_options import TrustOptions

Artifacts = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="The exported files to compare.")
]
GoldenFile = Annotated[
    Path | None,
    typer.Option(
        help="A recording of the model by `reference`, used instead of the model.",
        rich_help_panel=REFERENCE,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Number of processes that share the work.", rich_help_panel=RUN
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Address of a Ray cluster that shares the work; local starts Ray here.",
        rich_help_panel=RUN,
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Threads of the engine.", rich_help_panel=RUN)
]
GateFile = Annotated[
    Path | None,
    typer.Option("--gate", help="JSON file with your own gates.", rich_help_panel=RUN),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="For a file that fails, find the first bad operator and the cause: the file, the "
        "engine, the conversion or the precision; for int8 files, rank the layers by the error "
        "that each adds. Makes several exports.",
        rich_help_panel=OUTPUT,
    ),
]
Weights = Annotated[
    bool,
    typer.Option(
        "--weights",
        help="Judge what a file stores also where another tool quantized it.",
        rich_help_panel=RUN,
    ),
]
BenchFile = Annotated[
    Path | None,
    typer.Option(
        "--bench",
        help="The document of `bench -o` for these files, for their costs.",
        rich_help_panel=OUTPUT,
    ),
]
TimeSteps = Annotated[
    bool | None,
    typer.Option(
        "--speed/--no-speed",
        help="Time a step of each file and of the model here. Default: with --report; with --bench "
        "too, only the files that it has no row of.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        help="Write a report to this .html file, with .md and .json beside it.",
        rich_help_panel=OUTPUT,
    ),
]
Compared = Annotated[
    int | None,
    typer.Option(
        "--count",
        min=1,
        metavar="N",
        help="Maximum number of puzzles, 200 if not given; those of a golden are all compared.",
        rich_help_panel=PUZZLES,
    ),
]
Abstain = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Report how sure model and files are, and which answers are below this probability.",
        rich_help_panel=RUN,
    ),
]
JUnit = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        help="Write the ladder of every file to this .xml file, for a build server.",
        rich_help_panel=OUTPUT,
    ),
]
StepSummary = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        help="Append the verdict to this .md file, or to $GITHUB_STEP_SUMMARY.",
        rich_help_panel=OUTPUT,
    ),
]


@examples(
    "trm-export parity model.keras model.onnx",
    "trm-export parity model.keras model-int8.tflite --report report.html",
)
def parity(
    model: ModelFile,
    artifacts: Artifacts,
    puzzles: PuzzleOptions,
    reference: ReferenceOptions,
    hints: ModelOptions,
    trust: TrustOptions,
    again: TryOptions,
    count: Compared = None,
    golden: GoldenFile = None,
    gate: GateFile = None,
    batch_size: BatchSize = 64,
    jobs: Jobs = 1,
    ray: RayAddress = None,
    threads: Threads = None,
    engine: EngineName = None,
    output: JsonFile = None,
    report: Report = None,
    junit: JUnit = None,
    summary: StepSummary = None,
    bench: BenchFile = None,
    speed: TimeSteps = None,
    abstain: Abstain = None,
    weights: Weights = False,
    explain: Explain = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Compare exported files with their model, from what they store to accuracy.

    Exit code 5 if a file fails; the first failed check is shown. With -o or --report the same
    command resumes after a kill.
    """
    import trm_export as te
    from trm_export.api.build_servers import append, refusals, refuse, refuse_growing, write
    from trm_export.commands.support.command_line import command_line
    from trm_export.commands.support.console import emit, progress, remark
    from trm_export.commands.support.cures import cure_of_parity, lines, with_cure
    from trm_export.commands.support.exits import UnwrittenError
    from trm_export.commands.support.parity_tables import show_comparison
    from trm_export.errors import ParityError, TargetError

    refuse(junit, ".xml", force=force)
    inputs = [model, *artifacts, golden, gate, bench, puzzles.puzzles]
    refuse_growing(summary, inputs, report)
    with refusals(junit, summary, force=force):
        trust.apply(artifacts)
    with refusals(junit, summary, force=force), progress() as advance, with_cure(model, hints):
        found = te.compare(
            model,
            artifacts,
            **vars(puzzles),
            **again.asked(),
            **vars(reference),
            count=count,
            golden=golden,
            gates=gate,
            batch_size=batch_size,
            jobs=jobs,
            ray=ray,
            threads=threads,
            engine=engine,
            output=output,
            report=report,
            bench=bench,
            speed=speed,
            complete=as_json or junit is not None or summary is not None,
            abstain=abstain,
            weights=weights,
            explain=explain,
            trust=hints.trusted,
            hints=hints.hints(),
            force=force,
            progress=advance,
            command=command_line(),
        )
    if not as_json:
        show_comparison(found)
        cures = [
            cure_of_parity(
                model, one, hints, explained=explain, gate=gate, golden=golden, engine=engine
            )
            for one in found.files
        ]
        for line in lines(cures):
            remark(line)
    try:
        write(junit, found.junit, force=force)
        append(summary, found.step_summary)
    except TargetError as error:
        raise UnwrittenError(found.to_json()) from error
    if as_json:
        emit(found.to_json())
    if not found:
        raise typer.Exit(ParityError.exit_code)
