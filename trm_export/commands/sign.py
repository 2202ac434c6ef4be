"""`trm-export sign FILE --key PRIVATE` and `trm-export verify FILE --key PUBLIC`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import OUTPUT, AsJson, Force

_File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A .keras, .onnx or .tflite file, the folder of a SavedModel or of C source, or "
        "another file that this tool wrote.",
    ),
]
_Signature = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The signature. Default: <file>.sig."),
]


@examples(
    "trm-export sign model.onnx --key private.pem",
    "trm-export sign model_saved_model --key private.pem -o release.sig",
)
def sign(
    file: _File,
    key: Annotated[Path, typer.Option(help="Your private key, PEM.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The signature to write. Default: <file>.sig.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Sign a file in the OpenSSF model-signing format. Needs no network.

    Make a key pair with openssl; SECURITY.md has the commands.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit

    written = te.sign(file, key, output=output, force=force)
    if as_json:
        emit({"file": file, "signature": written})
    else:
        print(written)


@examples(
    "trm-export verify model.onnx --key public.pem",
    "trm-export verify model_saved_model --key public.pem --signature release.sig",
)
def verify(
    file: _File,
    key: Annotated[Path, typer.Option(help="The public key of the author, PEM.")],
    signature: _Signature = None,
    as_json: AsJson = False,
) -> None:
    """Check who signed a file, and that it has not changed since. Needs no network.

    Exit code 4 if the signature is missing, of another key, or of other content.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit

    te.verify(file, key, signature=signature)
    if as_json:
        emit({"file": file, "key": key, "verified": True})
    else:
        print(f"{file}: signed with the key of {key}, and unchanged since")
