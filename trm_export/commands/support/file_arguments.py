"""Files that a command line names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def each_once(files: Iterable[Path]) -> list[Path]:
    """The files in the order first named, without other spellings of one and links to it."""
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(os.path.realpath(file), file)
    return list(first.values())
