"""The SHA-256 of a file or folder in hexadecimal, read in chunks. Standard library only."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

_CHUNK = 1 << 20


def digest(file: IO[bytes], size: int | None = None) -> str:
    """Of the first `size` bytes, or of all."""
    file.seek(0)
    found = hashlib.sha256()
    while size is None or size > 0:
        chunk = file.read(_CHUNK if size is None else min(size, _CHUNK))
        if not chunk:
            break
        found.update(chunk)
        size = None if size is None else size - len(chunk)
    return found.hexdigest()


def tree_digest(path: Path) -> str:
    """Of a file, or of the names and contents of all files in a folder."""
    if not path.is_dir():
        with path.open("rb") as file:
            return digest(file)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{tree_digest(file)}  {file.relative_to(path).as_posix()}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
