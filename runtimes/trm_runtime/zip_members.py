"""Read the members of a ZIP archive that is not trusted, in bounded memory.

`zipfile` alone reads a directory of any size, and inflates what a member has, not what it declares.
Standard library only.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, OverflowError,
    RuntimeError,
)  # fmt: skip
"""What reading a damaged archive raises; RuntimeError: encrypted, or an unknown method. The methods
that can raise other exceptions are refused before a member is read."""

MAX_DIRECTORY_BYTES = 1 << 22  # about 60 for each member
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_END, _END_SIZE, _LONGEST_COMMENT = b"PK\x05\x06", 22, 0xFFFF
_WIDE_END, _WIDE_SIZE = b"PK\x06\x06", 56 + 20  # of ZIP64, with its locator, before the other end
_FREE, _MOST_TIMES, _USUAL_TIMES = 1 << 26, 100, 4
_SLACK, _MOST_RATIO = 16 << 20, 200  # bytes; bytes unpacked for each byte of the archive


@contextmanager
def opened_archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The archive in a file; raises one of DAMAGE where there is none, or its directory is huge."""
    size = _directory_bytes(file)
    if size > MAX_DIRECTORY_BYTES:
        raise ValueError(f"its directory has {size:,} bytes")
    with zipfile.ZipFile(file) as archive:
        yield archive


def _directory_bytes(file: BinaryIO) -> int:
    """The larger of the sizes in the two records at the end; 0 where there is none."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _WIDE_SIZE - _END_SIZE - _LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(_END)
    if not 0 <= at <= len(tail) - _END_SIZE:
        return 0
    wide = at - _WIDE_SIZE
    sizes: list[int] = [*struct.unpack_from("<L", tail, at + 12)]
    if wide >= 0 and tail.startswith(_WIDE_END, wide):
        sizes += struct.unpack_from("<Q", tail, wide + 40)
    return max(sizes)


def member_problem(member: zipfile.ZipInfo) -> str | None:
    """Why a member is not read: encrypted, another method, or a size that it cannot have."""
    if member.flag_bits & _ENCRYPTED:
        return "encrypted"
    if member.compress_type not in _METHODS:
        return f"compressed by method {member.compress_type}, expected stored or deflated"
    times = _USUAL_TIMES if member.file_size > _FREE else _MOST_TIMES
    if member.file_size > times * max(member.compress_size, 1):
        return f"expands more than {times} times (a zip bomb)"
    return None


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Raises BadZipFile unless all members can be read in a time that fits an archive of `size`.

    They have different names, are stored or deflated, and together unpack to at most 16 MiB and 200
    times its bytes.
    """
    members = archive.infolist()
    if len({member.filename for member in members}) != len(members):
        raise zipfile.BadZipFile("two members have the same name")
    if any(member.compress_type not in _METHODS for member in members):
        raise zipfile.BadZipFile("a member is compressed by another method than deflate")
    if sum(member.file_size for member in members) > _SLACK + _MOST_RATIO * size:
        raise zipfile.BadZipFile(f"it unpacks to more than {_MOST_RATIO} times its size")


def read_member(archive: zipfile.ZipFile, name: str, most: int | None = None) -> bytes:
    """The bytes of a member, their CRC checked; raises one of DAMAGE, in bounded memory.

    A member of more than `most` bytes is refused.
    """
    member = archive.getinfo(name)
    problem = member_problem(member)
    if most is not None and member.file_size > most:
        problem = f"more than {most:,} bytes"
    if problem is not None:
        raise ValueError(f"{name}: {problem}")
    with archive.open(member) as stream:
        data = stream.read(member.file_size)
    if len(data) != member.file_size:
        raise EOFError(f"{name}: it is cut off")
    return data
