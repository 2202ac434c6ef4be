"""What a long job has done so far, on disk: a job that is killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trm_export import TOOL
from trm_export.files import atomic_write

Array = np.ndarray[Any, Any]

_JOB = "job.json"
SUFFIX = ".parts"


class Parts:
    """Finished parts of one job in a folder of their own, removed when the job is done.

    Args:
        folder: where they are; parts of another job there are thrown away.
        job: everything that the parts depend on, in plain JSON types.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        text = json.dumps({"tool": TOOL, **job}, sort_keys=True)
        try:
            same = (folder / _JOB).read_text() == text
        except (OSError, UnicodeDecodeError):
            same = False
        if same:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / _JOB) as new:
            new.write_text(text)

    def load(self, name: str) -> dict[str, Array] | None:
        """A finished part, or None."""
        try:
            with np.load(self._path(name), allow_pickle=False) as found:
                return dict(found)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Keeps a part: whole or not at all."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        with new.open("wb") as file:
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]
        new.replace(path)

    def remove(self) -> None:
        """The job is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def beside(output: Path) -> Path:
    """The folder of parts of a job that writes this file."""
    return output.with_name(output.name + SUFFIX)


def digest(*arrays: Array | None) -> str:
    """SHA-256 of some arrays, for a job's description."""
    found = hashlib.sha256()
    for array in arrays:
        if array is not None:
            found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()
