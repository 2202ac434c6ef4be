"""`trm-export c`: a model as C source for a microcontroller."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from trm_export.commands.support.help_text import examples, without
from trm_export.commands.support.options import WHAT, AsJson, Force, ModelFile, Output

_Precision = Annotated[
    Literal["fp32", "int8"] | None,
    typer.Option(
        help="Number format of the weights; int8 multiplies integers. Default: fp32, or with --fit "
        "the first that fits.",
        rich_help_panel=WHAT,
    ),
]
_Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LAYER",
        help="Layer that stays float32 in int8, a name or a pattern such as '*down'; repeat it for "
        "more. An unknown name shows all names.",
        rich_help_panel=WHAT,
    ),
]
_Fit = Annotated[
    str | None,
    typer.Option(
        metavar="LIMITS",
        help="What the microcontroller has, such as flash=512k,ram=96k. Chooses precision, tiles "
        "and the layers that stay float32, and judges the result on 64 puzzles.",
        rich_help_panel=WHAT,
    ),
]
_Tries = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Adds trm_solve_again(), which asks a puzzle whose answer is not sure again, N times "
        "at most, by the symmetries of its task.",
        rich_help_panel=WHAT,
    ),
]


@without(trust_module="C source is only generated for models of this package")
@examples(
    "trm-export c model.keras -o model/",
    "trm-export c model.keras --fit flash=512k,ram=96k -o model/",
)
def c(
    model: ModelFile,
    *,
    precision: _Precision = None,
    keep: _Keep = None,
    fit: _Fit = None,
    tries: _Tries = 1,
    output: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Generate C99 that needs no interpreter, and check it against Keras on real puzzles."""
    import trm_export
    from trm_export.commands.support.command_line import command
    from trm_export.commands.support.console import emit, progress, remark
    from trm_runtime.file_kinds import check_of_source

    with progress() as advance:
        result = trm_export.export_c(
            model,
            output,
            precision=precision,
            keep=keep or (),
            fit=fit,
            tries=tries,
            force=force,
            progress=advance,
        )
    if as_json:
        emit(result.to_json())
        return
    remark(result.summary)
    for path in result.files:
        print(path)
    golden = f"{result.path}-golden.npz"
    record = command("reference", model, output=golden)
    remark(f"Next: {' && '.join((record, *check_of_source(result.path, golden)))}")
