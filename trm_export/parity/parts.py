"""What a long job has done so far, on disk: a job that is killed goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trm_export import TOOL, __version__
from trm_export.errors import OverwriteError, TargetError
from trm_export.file_commit import remove
from trm_export.files import atomic_write
from trm_export.leftovers import removed_by

Array = np.ndarray[Any, Any]

_JOB = "job.json"
SUFFIX = ".parts"
_DIGEST_BYTES = hashlib.sha256().digest_size
_PIECE = 1 << 20


class Parts:
    """Finished parts of one job in a folder of their own, removed when the job is done.

    Args:
        folder: where they are; parts of another job there are thrown away.
        job: everything that the parts depend on, in plain JSON types.

    Raises OverwriteError for a folder of that name that holds something else, TargetError where
    nothing can be written.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        text = json.dumps({"tool": f"{TOOL} {__version__}", **job}, sort_keys=True)
        try:
            same = (folder / _JOB).read_text() == text
        except (OSError, UnicodeDecodeError):
            same = False
        if same:
            return
        _refuse_foreign(folder)
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_write(folder / _JOB, force=True) as new:
            new.write_text(text)

    def load(self, name: str) -> dict[str, Array] | None:
        """A finished part, or None; one that is damaged counts as not there."""
        try:
            with self._path(name).open("rb") as file:
                if not _whole(file):
                    return None
                with np.load(file, allow_pickle=False) as found:
                    return dict(found)
        except OSError:
            return None

    def has(self, name: str) -> bool:
        """Whether there is such a part, damaged or not."""
        return self._path(name).exists()

    def save(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Keeps a part: whole or not at all, or TargetError.

        It is not flushed to disk, which can take longer than to measure it: what a machine that
        loses its power leaves of it has the wrong checksum.
        """
        path = self._path(name)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with removed_by(lambda: remove(new)):
                _write(new, arrays)
                new.replace(path)
        except OSError as error:
            raise TargetError(f"{path} cannot be written: {error.strerror or error}.") from error
        finally:
            remove(new)

    def remove(self) -> None:
        """The job is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"  # with a checksum behind it, which zip files may have


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    made = io.BytesIO()
    np.savez(made, **dict(arrays))  # type: ignore[arg-type]
    path.write_bytes(made.getvalue() + hashlib.sha256(made.getvalue()).digest())


def _whole(file: BinaryIO) -> bool:
    """Whether the file ends with the SHA-256 of what comes before; leaves it at its start."""
    length = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    if length < 0:
        return False
    file.seek(0)
    found = _sha256(file, length)
    same = file.read() == found
    file.seek(0)
    return same


def _sha256(file: BinaryIO, length: int | None = None) -> bytes:
    """Of the next `length` bytes, or of all."""
    found = hashlib.sha256()
    left = sys.maxsize if length is None else length
    while piece := file.read(min(_PIECE, left)):
        found.update(piece)
        left -= len(piece)
    return found.digest()


def _refuse_foreign(folder: Path) -> None:
    """A folder is ours if its description says so; one cut off at its birth holds nothing else."""
    try:
        inside = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise OverwriteError(
            f"{folder}: finished parts are kept there, but: {error.strerror}; move it away"
        ) from error
    if _JOB not in inside and any(not name.startswith(f".{Path(_JOB).stem}.") for name in inside):
        raise OverwriteError(
            f"{folder}: finished parts are kept there, but it holds something else; move it away"
        )


def beside(output: Path) -> Path:
    """The folder of parts of a job that writes this file."""
    return output.with_name(output.name + SUFFIX)


def digest(*arrays: Array | None) -> str:
    """SHA-256 of some arrays, for a job's description."""
    found = hashlib.sha256()
    for array in arrays:
        if array is not None:
            found.update(f"{array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
