"""Arrays in a file that shows its own damage: an .npz with its SHA-256 behind it, as zip allows."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trm_runtime.digest import digest
from trm_runtime.errors import RejectedInputError
from trm_runtime.npy import read_array
from trm_runtime.regular_file import open_regular
from trm_runtime.zip_members import DAMAGE, opened_archive

Array = np.ndarray[Any, Any]

_DIGEST_BYTES = hashlib.sha256().digest_size


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes the file in one go; who wants it atomic gives a temporary path. Raises OSError."""
    made = io.BytesIO()
    np.savez(made, **dict(arrays))  # type: ignore[arg-type]
    path.write_bytes(made.getvalue() + hashlib.sha256(made.getvalue()).digest())


def read_arrays(path: Path) -> dict[str, Array] | None:
    """The arrays; None for a file that is damaged, missing or unreadable."""
    try:
        with open_regular(path) as file:
            if not _is_complete(file):
                return None
            with opened_archive(file) as archive:
                names = archive.namelist()
                return {name.removesuffix(".npy"): read_array(archive, name) for name in names}
    except (*DAMAGE, OSError, RejectedInputError):
        return None


def _is_complete(file: BinaryIO) -> bool:
    """Whether the file ends with the SHA-256 of its other bytes; seeks back to its start."""
    length = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    if length < 0:
        return False
    found = digest(file, length)
    same = file.read() == bytes.fromhex(found)
    file.seek(0)
    return same
