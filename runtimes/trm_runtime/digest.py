"""The SHA-256 of files and folders in hexadecimal, read in chunks. Standard library only."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

from trm_runtime.errors import RejectedInputError, reading, unreadable
from trm_runtime.regular_file import open_regular

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


def file_digest(path: Path) -> str:
    """Of a regular file; RejectedInputError for one that cannot be read."""
    with reading(path), open_regular(path) as file:
        return digest(file)


def tree_digest(path: Path) -> str:
    """Of a file; of a folder that of the list of its files, as `sha256sum` prints it.

    The list has a line `<digest>  <name>` for each file, hidden ones too, in the order of the bytes
    of the names, which are relative and use `/`. In the folder:

        find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum

    Raises what `file_digest` and `files_of` raise.
    """
    with reading(path):
        is_folder = path.is_dir()
    if not is_folder:
        return file_digest(path)
    lines = [f"{file_digest(file)}  {name}\n" for name, file in files_of(path).items()]
    return hashlib.sha256(b"".join(map(os.fsencode, lines))).hexdigest()


def files_of(folder: Path) -> dict[str, Path]:
    """Every file in a folder by its relative name, in the order of the bytes of the names.

    Links are followed, as an engine does. Raises RejectedInputError for a folder that cannot be
    read, or that is in it twice (a loop of links), and for a name with a line end.
    """

    def refuse(error: OSError) -> None:
        raise unreadable(error.filename, error)

    found, seen = {}, set()
    for place, _, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            raise RejectedInputError(f"{place}: a link to a folder that is here already; drop it.")
        seen.add(real)
        for name in names:
            file = Path(place, name)
            found[file.relative_to(folder).as_posix()] = file
    broken = next((name for name in found if "\n" in name), None)
    if broken is not None:
        raise RejectedInputError(f"{folder}: a file {broken!r}, with a line end; rename it.")
    return {name: found[name] for name in sorted(found, key=os.fsencode)}
