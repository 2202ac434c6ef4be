"""Open files that others wrote: regular files only, of a limited size.

A FIFO would make a program wait for ever, and a device such as /dev/zero has no end. Standard
library only.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Union

from trm_runtime.errors import RejectedInputError
from trm_runtime.limits import FILE_MB, Limit

PathLike = Union[str, "os.PathLike[str]"]

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CHUNK = 1 << 20
_PAGE = "an HTML page, not the file; the download needs a sign-in or another address"
_STAND_INS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file; fetch it with `git lfs pull`",
    b"<!doctype html": _PAGE,
    b"<html": _PAGE,
}
_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(path: PathLike, limit: Limit | None = None) -> BinaryIO:
    """The file, for reading bytes; the caller closes it. It may have any size without a limit.

    Raises RejectedInputError for a FIFO, a device or a socket, for a file above the limit, and for
    a file that stands for another one, such as a Git LFS pointer; OSError for a folder and whatever
    the system cannot open.
    """
    file = os.fdopen(os.open(path, _FLAGS | getattr(os, "O_CLOEXEC", 0)), "rb")
    try:
        _check(path, os.fstat(file.fileno()), limit)
        _refuse_stand_in(path, file)
    except BaseException:
        file.close()
        raise
    return file


def check_regular(path: PathLike) -> None:
    """Raise as `open_regular` does, for code that opens the path itself."""
    open_regular(path).close()


def read_regular(path: PathLike, limit: Limit = FILE_MB) -> bytes:
    """All bytes of a regular file; raises as `open_regular` does."""
    with open_regular(path, limit) as file:
        return bounded(file, str(path), limit)


def bounded(file: BinaryIO, name: str, limit: Limit = FILE_MB) -> bytes:
    """All bytes of an open file or stream; RejectedInputError if there are more than the limit."""
    data, most = bytearray(), limit.bytes
    while chunk := file.read(_CHUNK):
        data += chunk
        if len(data) > most:
            raise too_large(name, limit)
    return bytes(data)


def too_large(name: str, limit: Limit) -> RejectedInputError:
    """The error for a file above its limit."""
    return RejectedInputError(f"{name}: larger than {limit.value:,} MB; {limit.remedy}.")


def _refuse_stand_in(path: PathLike, file: BinaryIO) -> None:
    head = file.read(64).lstrip().lower()
    file.seek(0)
    for start, kind in _STAND_INS.items():
        if head.startswith(start):
            raise RejectedInputError(f"{path}: {kind}.")


def _check(path: PathLike, found: os.stat_result, limit: Limit | None) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = next((name for test, name in _KINDS if test(found.st_mode)), None)
    if kind is not None:
        raise RejectedInputError(
            f"{path}: expected a regular file, got {kind}; write it to a file first."
        )
    if limit is not None and found.st_size > limit.bytes:
        raise too_large(str(Path(path)), limit)
