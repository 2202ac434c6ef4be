"""Changes of a ZIP archive, which is written here by hand so that every field can be wrong."""

from __future__ import annotations

import dataclasses
import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.fuzz.mutate_bytes import damaged

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_BLOCK = 1 << 20
_LARGE = 600  # blocks of zeros: more than a reader may take
_NAMES = ("", "x" * 900, "../up", "\ud800")
_OTHERS = (0, 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True)
class Member:
    """One member; `size` and `crc` are of `data` if they are None."""

    name: str
    data: bytes
    method: int = STORED
    size: int | None = None  # as the headers say, uncompressed
    crc: int | None = None
    flags: int = 0
    packed: bytes | None = None  # instead of the compressed data


@functools.lru_cache(8)
def members_of(data: bytes) -> tuple[Member, ...]:
    """The members of a good archive; few are read again and again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return tuple(
            Member(info.filename, archive.read(info), info.compress_type)
            for info in archive.infolist()
        )


def archive(members: Sequence[Member], before: bytes = b"") -> bytes:
    """The bytes of an archive after other bytes, such as those of a flatbuffer."""
    body, directory = bytearray(before), b""
    for member in members:
        packed = member.packed
        if packed is None:
            packed = _deflated(member.data) if member.method == DEFLATED else member.data
        size = len(member.data) if member.size is None else member.size
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        name = member.name.encode("utf-8", "surrogatepass")
        flags = member.flags | (0 if name.isascii() else 0x800)
        facts = struct.pack(
            "<HHHHHLLLHH", 20, flags, member.method, 0, 33, crc, len(packed), size, len(name), 0
        )
        directory += b"PK\1\2\x14\3" + facts + struct.pack("<HHHLL", 0, 0, 0, 0, len(body)) + name
        body += b"PK\3\4" + facts + name + packed
    count = len(members)
    end = struct.pack("<HHHHLLH", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body) + directory + b"PK\5\6" + end


def local_part(members: Sequence[Member]) -> bytes:
    """The bytes of an archive without its directory, after which another member can follow."""
    whole = archive(members)
    return whole[: int.from_bytes(whole[-6:-2], "little")]


def edited(
    rng: Random,
    members: Sequence[Member],
    inside: Callable[[Random, Member], bytes] = lambda rng, member: damaged(rng, member.data),
) -> list[Member]:
    """One or two changes of members; `inside` gives another content to one."""
    found = list(members)
    for _ in range(rng.randint(1, 2)):
        if not found:
            break
        at = rng.randrange(len(found))
        kind = rng.random()
        if kind < 0.65:
            found[at] = dataclasses.replace(found[at], data=inside(rng, found[at]))
        elif kind < 0.85:
            found[at : at + 1] = rng.choice(_MEMBERS)(rng, found[at])
        else:
            found[at] = _wrong(rng, found[at])
    return found


def inflating(name: str, blocks: int = _LARGE) -> Member:
    """A member of a few kB that unpacks to that many MiB of zeros; its CRC is wrong."""
    return Member(name, b"", DEFLATED, size=blocks * _BLOCK, crc=0, packed=_zeros(blocks))


@functools.cache
def _zeros(blocks: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * blocks + packer.flush()


@functools.lru_cache(256)
def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _wrong(rng: Random, member: Member) -> Member:
    """Another size, checksum, method or flag than is true, or packed data that are damaged."""
    packed = _deflated(member.data) if member.method == DEFLATED else member.data
    return dataclasses.replace(member, **rng.choice((
        {"size": rng.choice(_OTHERS)},
        {"crc": rng.choice(_OTHERS)},
        {"method": rng.choice((0, 8, 9, 12, 14, 93, 99)), "packed": packed},
        {"flags": rng.choice((1, 8, 32, 64, 0x2000))},
        {"packed": damaged(rng, packed)},
    )))  # fmt: skip


_MEMBERS: tuple[Callable[[Random, Member], list[Member]], ...] = (
    lambda rng, one: [],
    lambda rng, one: [one, one],
    lambda rng, one: [
        dataclasses.replace(one, name=rng.choice(("", "x" * 900, "../up", "\ud800")))
    ],
    lambda rng, one: [one, Member("new", b"new")],
    lambda rng, one: [dataclasses.replace(one, data=b"")],
    lambda rng, one: [inflating(one.name)],
)
