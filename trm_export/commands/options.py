"""Options that mean the same in every command, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of text, errors included.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that this tool did not make.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The file to write; its folder is made if there is none. "
        "artifacts/<name> if not given.",
    ),
]  # fmt: skip
