"""The exported files that a caller names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

FilePath: TypeAlias = str | os.PathLike[str]


def each_once(files: FilePath | Iterable[FilePath]) -> list[Path]:
    """The files in the order first named, without other spellings of one and links to it."""
    named = [files] if isinstance(files, str | os.PathLike) else files or ()
    first: dict[str, Path] = {}
    for file in named:
        first.setdefault(os.path.realpath(file), Path(file))
    return list(first.values())
