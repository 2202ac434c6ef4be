"""`trm-export onnx`, `tflite` and `saved-model`: a model as one file for a device."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    WHAT,
    AsJson,
    Force,
    GraphOptions,
    IntegerOptions,
    ModelFile,
    ModelOptions,
    Output,
    TaskName,
)

_Precision = Annotated[
    Literal["fp32", "fp16", "int8", "int8-static", "int4"],
    typer.Option(help="Number format of the weights.", rich_help_panel=WHAT),
]
_FloatPrecision = Annotated[
    Literal["fp32", "fp16"],
    typer.Option(help="Number format of the weights.", rich_help_panel=WHAT),
]
_Target = Annotated[
    Literal["litert", "tflite-runtime", "tflite-micro"],
    typer.Option(help="The interpreter for the file.", rich_help_panel=WHAT),
]
_CArray = Annotated[
    bool,
    typer.Option(
        "--c-array",
        help="Also a C array and a header that adds the operators, for tflite-micro.",
        rich_help_panel=WHAT,
    ),
]


@examples(
    "trm-export onnx model.keras",
    "trm-export onnx model.keras --precision int8 -o model-int8.onnx",
)
def onnx(
    model: ModelFile,
    *,
    precision: _Precision = "fp32",
    graph: GraphOptions,
    integers: IntegerOptions,
    hints: ModelOptions,
    task: TaskName = None,
    output: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export to ONNX and check the file against Keras on real puzzles."""
    _export(
        model,
        output,
        hints,
        task,
        as_json,
        format="onnx",
        precision=precision,
        force=force,
        **vars(graph),
        **integers.choices(),
    )


@examples(
    "trm-export tflite model.keras --precision int8-static",
    "trm-export tflite model.keras --target tflite-runtime",
)
def tflite(
    model: ModelFile,
    *,
    precision: _Precision = "fp32",
    target: _Target = "litert",
    c_array: _CArray = False,
    graph: GraphOptions,
    integers: IntegerOptions,
    hints: ModelOptions,
    task: TaskName = None,
    output: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export to TFLite (LiteRT) and check the file against Keras on real puzzles."""
    _export(
        model,
        output,
        hints,
        task,
        as_json,
        format="tflite",
        precision=precision,
        target=target,
        c_array=c_array,
        force=force,
        **vars(graph),
        **integers.choices(),
    )


@examples(
    "trm-export saved-model model.keras",
    "trm-export saved-model model.keras --granularity loop -o served/model",
)
def saved_model(
    model: ModelFile,
    *,
    precision: _FloatPrecision = "fp32",
    graph: GraphOptions,
    hints: ModelOptions,
    task: TaskName = None,
    output: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export to a SavedModel folder and check it against Keras on real puzzles."""
    _export(
        model,
        output,
        hints,
        task,
        as_json,
        format="saved-model",
        precision=precision,
        force=force,
        **vars(graph),
    )


def _export(
    model: Any, output: Any, hints: ModelOptions, task: str | None, as_json: bool, **choices: Any
) -> None:
    import trm_export
    from trm_export.commands.support.command_line import command
    from trm_export.commands.support.console import emit, progress, remark, show
    from trm_export.commands.support.cures import cure_of_export, lines
    from trm_export.errors import ParityError

    given = {**choices, "output": output, "task": task, **vars(hints)}
    try:
        with progress() as advance:
            result = trm_export.export(
                model,
                output,
                trust=hints.trusted,
                hints=hints.hints(task),
                progress=advance,
                **choices,
            )
    except trm_export.AutoKeepError as error:
        if as_json:
            emit(error.search.to_json())
        else:
            show(*error.search.tables())
            remark(error.search.verdict)
            for line in lines([cure_of_export(model, given, error.search)]):
                remark(line)
        raise typer.Exit(error.exit_code) from None
    except ParityError as error:
        for line in lines([cure_of_export(model, given)]):
            error.add_note(line)
        raise
    if as_json:
        emit(result.to_json())
        return
    if result.search:
        show(*result.search.tables())
        remark(result.search.verdict)
    remark(result.summary)
    for path in result.files:
        print(path)
    remark(f"Next: {command('parity', model, result.path, task=task, **vars(hints))}")
