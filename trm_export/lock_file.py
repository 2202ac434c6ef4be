"""A file that one run at a time holds, so that two runs never take each other's work for theirs."""

from __future__ import annotations

import os
from pathlib import Path

from trm_export.errors import UsageError
from trm_export.file_commit import remove


def locked(path: Path, refusal: str) -> int | None:
    """The descriptor of a lock file, which is created with its folder; None without locks.

    The lock ends with the process. Raises UsageError, with this sentence, where it is held.
    """
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except (ImportError, OSError):  # Windows; and writing says what is wrong with the folder
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UsageError(refusal) from None
    except OSError:  # a disk without locks
        return handle
    if _is_at(handle, path):
        return handle
    os.close(handle)  # of a run that has removed it
    return locked(path, refusal)


def unlock(handle: int, path: Path) -> None:
    """Deletes the lock file, unless it is that of a later run already."""
    if _is_at(handle, path):
        remove(path)
    os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
