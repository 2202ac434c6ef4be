"""Finished parts of a long job on disk, so that a killed job can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.checked_arrays import read_arrays, write_arrays
from trm_export.errors import OverwriteError, RejectedInputError, TargetError
from trm_export.file_commit import remove
from trm_export.files import atomic_write
from trm_export.leftovers import JOB, LOCK, forget, keep, removed_by
from trm_export.lock_file import locked, unlock
from trm_export.version import TOOL, __version__
from trm_runtime.regular_file import read_regular

Array = np.ndarray[Any, Any]

SUFFIX = ".parts"


class Parts:
    """Finished parts of one job in their own folder, removed when the job is done.

    The folder is locked until `close` or `remove`, where system and disk have locks.

    Args:
        folder: where they are; parts of another job there are deleted.
        job: everything that the parts depend on, in plain JSON types.

    Raises UsageError for a folder that is locked, OverwriteError for one of that name with other
    files, TargetError where nothing can be written.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        _refuse_foreign(folder)
        lock = locked(
            folder / LOCK,
            f"{folder}: another run keeps its finished parts there; wait until it ends, or write "
            "to another file.",
        )
        self._close = None if lock is None else weakref.finalize(self, unlock, lock, folder / LOCK)
        text = json.dumps({"tool": f"{TOOL} {__version__}", **job}, sort_keys=True)
        try:
            same = read_regular(folder / JOB) == text.encode()
        except (OSError, RejectedInputError):
            same = False
        if same:
            keep(folder)
            return
        self._empty()
        keep(folder)
        with atomic_write(folder / JOB, force=True) as new:
            new.write_text(text)

    def load(self, name: str) -> dict[str, Array] | None:
        """A finished part, or None if it is missing or damaged."""
        return read_arrays(self._path(name))

    def has(self, name: str) -> bool:
        """Whether there is such a part, damaged or not."""
        return self._path(name).exists()

    def save(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Stores a part atomically, or raises TargetError.

        It is not flushed to disk, which can take longer than measuring it: after a power failure
        an incomplete part has a wrong checksum.
        """
        path = self._path(name)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with removed_by(lambda: remove(new)):
                write_arrays(new, arrays)
                new.replace(path)
        except OSError as error:
            raise TargetError(f"{path} cannot be written: {error.strerror or error}.") from error
        finally:
            remove(new)

    def remove(self) -> None:
        """Deletes the folder, when the job is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        forget(self.folder)
        self.close()

    def close(self) -> None:
        """Unlocks the folder, so that another run may go on with the parts."""
        if self._close is not None:
            self._close()

    def _empty(self) -> None:
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.name != LOCK:
                    remove(path)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"  # with a checksum after it, which a zip file may have


def _refuse_foreign(folder: Path) -> None:
    """OverwriteError for a folder with other files; one that was just begun has no `JOB` yet."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        if not folder.exists():  # what should hold it is a file; writing says so
            return
        raise OverwriteError(
            f"{folder}: needed for finished parts, but it is a file; move it away."
        ) from None
    except OSError as error:
        raise OverwriteError(
            f"{folder}: needed for finished parts, but cannot be read: {error.strerror}; move it "
            "away."
        ) from error
    if JOB not in names and any(not name.startswith(f".{Path(JOB).stem}.") for name in names):
        raise OverwriteError(
            f"{folder}: needed for finished parts, but it contains other files; move it away."
        )


def beside(output: Path) -> Path:
    """The folder of parts of a job that writes this file."""
    return output.with_name(output.name + SUFFIX)


def digest(*arrays: Array | None) -> str:
    """SHA-256 of some arrays, for a job's description."""
    total = hashlib.sha256()
    for array in arrays:
        if array is not None:
            total.update(f"{array.dtype} {array.shape}".encode())
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
