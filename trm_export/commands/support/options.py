"""Options and arguments that mean the same in every command, written once."""

from __future__ import annotations

import os
from collections.abc import Iterable
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


def each_once(files: Iterable[Path]) -> list[Path]:
    """The files in the order first named, without other spellings of one and links to it."""
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(os.path.realpath(file), file)
    return list(first.values())
