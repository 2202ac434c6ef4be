"""`trm-export inspect FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import MODELS, AsJson

_TrustModule = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PACKAGE",
        help="Package that a .keras file may name; it is not imported.",
        rich_help_panel=MODELS,
    ),
]


@examples("trm-export inspect model.onnx", "trm-export inspect model.keras --json")
def inspect(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .keras, .onnx, .tflite or .json file, or a folder."),
    ],
    trust_module: _TrustModule = None,
    as_json: AsJson = False,
) -> None:
    """Show the contents of a file: contract, sizes, versions, weights. Loads no TensorFlow.

    Exit code 4 for an export that is damaged or differs from its contract.
    """
    import trm_export
    from trm_export.commands.support.console import emit, show
    from trm_export.errors import RejectedInputError

    found = trm_export.inspect(file, trust=trust_module or ())
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables())
    if not found:
        raise typer.Exit(RejectedInputError.exit_code)
