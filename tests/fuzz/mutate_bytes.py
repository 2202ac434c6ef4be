"""Changes of bytes that know nothing about their format."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_LARGE = (*_NUMBERS, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_MOST_CHANGES = 3


def damaged(rng: Random, data: bytes) -> bytes:
    """One to three changes: bits, bytes, numbers, and parts that are lost, doubled or new."""
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        data = rng.choice(_CHANGES)(rng, data)
    return data


def flip(rng: Random, data: bytes) -> bytes:
    """One bit is the other one."""
    if not data:
        return b"\x01"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _set(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes([rng.choice((0, 10, 13, 32, 127, 128, 255))]) + data[at + 1 :]


def truncate(rng: Random, data: bytes) -> bytes:
    """The end is lost."""
    return data[: rng.randrange(len(data) + 1)]


def _insert(rng: Random, data: bytes) -> bytes:
    at, count = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 300))
    new = rng.choice((b"\0" * count, b"\xff" * count, rng.randbytes(count)))
    return data[:at] + new + data[at:]


def _remove(rng: Random, data: bytes) -> bytes:
    start, stop = _span(rng, data)
    return data[:start] + data[stop:]


def _double(rng: Random, data: bytes) -> bytes:
    start, stop = _span(rng, data)
    return data[:stop] + data[start:stop] + data[stop:]


def _move(rng: Random, data: bytes) -> bytes:
    start, stop = _span(rng, data)
    rest = data[:start] + data[stop:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + data[start:stop] + rest[at:]


def number(rng: Random, data: bytes) -> bytes:
    """A number of 2, 4 or 8 bytes is another one, an extreme one or a neighbour."""
    size = rng.choice((2, 4, 4, 8))
    if len(data) < size:
        return data
    at = rng.randrange(len(data) - size + 1)
    at -= at % size if rng.random() < 0.5 else 0
    old = int.from_bytes(data[at : at + size], "little")
    new = rng.choice((*_LARGE, old + 1, old - 1, old * 2, old ^ 4)) % 256**size
    return data[:at] + new.to_bytes(size, "little") + data[at + size :]


def _span(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 64, 1000)))


_CHANGES: tuple[Callable[[Random, bytes], bytes], ...] = (
    flip, flip, _set, truncate, _insert, _remove, _double, _move, number,
)  # fmt: skip
