"""The SHA-256 of a file in hexadecimal, read in chunks. Standard library only."""

from __future__ import annotations

import hashlib
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
