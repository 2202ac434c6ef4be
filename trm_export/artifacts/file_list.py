"""The exported files that a caller names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from trm_export.errors import UsageError
from trm_runtime.message_text import shown

FilePath: TypeAlias = str | os.PathLike[str]


def each_once(files: FilePath | Iterable[FilePath]) -> list[Path]:
    """The files in the order first named, without other spellings of one and links to it."""
    if isinstance(files, str | os.PathLike):
        named = [files]
    else:
        named = [files] if files and not isinstance(files, Iterable) else list(files or ())
    if not all(isinstance(file, str | os.PathLike) for file in named):
        raise UsageError(f"The files must be paths of exported files, got {shown(files)}.")
    first: dict[str, Path] = {}
    for file in named:
        first.setdefault(os.path.realpath(file), Path(file))
    return list(first.values())
