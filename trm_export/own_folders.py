"""What lies in a folder of this tool, and was not written by it.

A folder is replaced whole, so that everything in it is lost. An export lists its own files: a
SavedModel by its checksums, generated code in `memory.json`, vectors in their index the tensors.
What a Makefile builds counts as none: it is made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm_export.errors import RejectedInputError
from trm_export.own_files import SOURCE_MEMORY, VECTORS_INDEX
from trm_runtime import strict_json
from trm_runtime.digest import file_digest
from trm_runtime.file_kinds import folder_kind, is_source
from trm_runtime.regular_file import read_regular

SOURCE_BUILT = ("libtrm.a", "model.o", "serve", "serve.o", "weights.o")
"""What the Makefile of generated code builds in its folder."""
VECTORS_DATA = "tensors.bin"
VECTORS_TEXTS = ("README.md", "contract.json", VECTORS_INDEX)


def foreign_files(folder: Path) -> list[str]:
    """The names in a folder of ours, relative and in order, of files that are not of the export.

    A file of the export that was changed is one of them. Links are not followed, and folders
    without a file do not count. Raises OSError for a folder that cannot be read.
    """
    own = frozenset(_own(folder))
    return [name for name in _names(folder) if name not in own]


def size_of_export(folder: Path) -> int:
    """Bytes of the files in a folder of generated code that are not built from the others."""
    names = (name for name in _names(folder) if name not in SOURCE_BUILT)
    return sum((folder / name).lstat().st_size for name in names)


def _names(folder: Path) -> list[str]:
    inside = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in inside)


def _own(folder: Path) -> Iterator[str]:
    recorded: Any
    if is_source(folder):
        yield from (SOURCE_MEMORY, *SOURCE_BUILT)
        recorded = _recorded(folder / SOURCE_MEMORY)
    elif folder_kind(folder) is None:
        yield from VECTORS_TEXTS
        recorded = {VECTORS_DATA: _recorded(folder / VECTORS_INDEX)}
    else:
        from trm_runtime.drivers.saved_model_folder import CHECKSUM_FILE, listed_digests

        yield CHECKSUM_FILE.as_posix()
        recorded = listed_digests(folder)
    if isinstance(recorded, dict):
        yield from (name for name, digest in recorded.items() if _digest(folder / name) == digest)


def _recorded(file: Path) -> Any:
    """The value of `sha256` in a JSON file; None where it cannot be read."""
    try:
        found: Any = strict_json.parse(read_regular(file).decode())
        return found["sha256"]
    except (OSError, ValueError, LookupError, TypeError, RejectedInputError):
        return None


def _digest(file: Path) -> str | None:
    try:
        return file_digest(file)
    except RejectedInputError:
        return None
