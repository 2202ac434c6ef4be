"""`trm-export inspect FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import MODELS, OUTPUT, AsJson, Force
from trm_export.commands.support.trust_options import TrustOptions

_TrustModule = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PACKAGE",
        help="Package that a .keras file may name; it is not imported.",
        rich_help_panel=MODELS,
    ),
]
_Sarif = Annotated[
    Path | None,
    typer.Option(
        "--sarif",
        help="Write what is wrong with the file to this .sarif file, for a code host.",
        rich_help_panel=OUTPUT,
    ),
]


_LISTED = 3  # problems in the message; the table has all of them


@examples("trm-export inspect model.onnx", "trm-export inspect model.keras --json")
def inspect(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .keras, .onnx, .tflite or .json file, or a folder."),
    ],
    trust: TrustOptions,
    trust_module: _TrustModule = None,
    sarif: _Sarif = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show the contents of a file: contract, sizes, versions, weights. Loads no TensorFlow.

    Exit code 4 for an export that is damaged or differs from its contract.
    """
    import trm_export
    from trm_export.api.build_servers import refuse, sarif_of, write
    from trm_export.commands.support.console import emit, remark, show
    from trm_export.errors import RejectedInputError

    refuse(sarif, ".sarif", force=force)
    try:
        trust.apply([file])
        found = trm_export.inspect(file, trust=trust_module or ())
    except RejectedInputError as error:
        problem = str(error)
        write(sarif, lambda: sarif_of(file, [problem]), force=force)
        raise
    write(sarif, lambda: sarif_of(file, found.problems), force=force)
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables())
    if not found:
        first = "; ".join(found.problems[:_LISTED])
        remark(f"Error: {found.path} is damaged or differs from its contract: {first}.")
        raise typer.Exit(RejectedInputError.exit_code)
