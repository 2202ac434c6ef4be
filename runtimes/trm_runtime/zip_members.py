"""Read a ZIP archive that may be damaged, or made to take all memory and time.

Standard library only.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from contextlib import suppress

DAMAGED: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,  # no such member
    RuntimeError,  # a member is marked as encrypted
    ValueError,
)
"""The exceptions of `zipfile` for damaged archives."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SLACK, _MOST_RATIO = 16 << 20, 200  # bytes; bytes unpacked for each byte of the archive


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Raise BadZipFile unless all members can be read in a time that fits an archive of `size`.

    They must be stored or deflated, under different names, and together unpack to at most 16 MiB
    and 200 times its bytes.
    """
    members = archive.infolist()
    if len({member.filename for member in members}) != len(members):
        raise zipfile.BadZipFile("two members have the same name")
    if any(member.compress_type not in _METHODS for member in members):
        raise zipfile.BadZipFile("a member is compressed by another method than deflate")
    if sum(member.file_size for member in members) > _SLACK + _MOST_RATIO * size:
        raise zipfile.BadZipFile(f"it unpacks to more than {_MOST_RATIO} times its size")


def member_bytes(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of a member; BadZipFile for more than `most`, one of `DAMAGED` for damage."""
    info = archive.getinfo(name)
    if info.file_size > most:
        raise zipfile.BadZipFile(f"its member {name} has more than {most:,} bytes")
    with archive.open(info) as member:
        return member.read()


with suppress(ImportError):  # a Python may be built without these modules
    import lzma

    DAMAGED += (lzma.LZMAError,)
