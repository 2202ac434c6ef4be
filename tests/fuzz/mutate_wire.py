"""Changes of the framing of a protobuf message, at any depth."""

from __future__ import annotations

from random import Random

from tests.fuzz.mutate_bytes import damaged

_DEPTH = 5
_LENGTHS = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1, 2**70)


def changed(rng: Random, data: bytes) -> bytes:
    """Another message: one field of it, or of a message inside it, is changed, lost or doubled."""
    return _changed(rng, data, _DEPTH)


def _changed(rng: Random, data: bytes, depth: int) -> bytes:
    fields = _fields(data)
    if not fields or rng.random() < 0.05:
        return damaged(rng, data)
    start, body, stop = rng.choice(fields)
    whole, head, inside = data[start:stop], data[start:body], data[body:stop]
    if depth and _fields(inside) and rng.random() < 0.7:
        inside = _changed(rng, inside, depth - 1)
        new = head[: _tag_size(head)] + varint(len(inside)) + inside
    else:
        new = _other(rng, whole, head, inside)
    return data[:start] + new + data[stop:]


def _other(rng: Random, whole: bytes, head: bytes, inside: bytes) -> bytes:
    tag = head[: _tag_size(head)]
    length = rng.choice((*_LENGTHS, len(inside) + 1, max(0, len(inside) - 1)))
    wire = bytes([(tag[0] & 0xF8) | rng.randrange(8)]) + head[1:]
    return rng.choice((
        b"",
        whole * 2,
        tag + varint(length) + inside,
        wire + inside,
        varint(rng.choice((0, 1, 2**29 << 3 | 2, 2**62))) + head[len(tag) :] + inside,
        tag + b"\xff" * 11,
        head + damaged(rng, inside),
    ))  # fmt: skip


def varint(number: int) -> bytes:
    """A number as protobuf writes it, of any size."""
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _tag_size(head: bytes) -> int:
    return next((i + 1 for i, byte in enumerate(head) if byte < 128), len(head))


def _fields(data: bytes) -> list[tuple[int, int, int]]:
    """Start, content and end of every field of length; empty if the bytes are no message."""
    found, at = [], 0
    while at < len(data):
        start = at
        tag, at = _number(data, at)
        size, at = (0, at) if tag & 7 != 2 else _number(data, at)
        if tag & 7 == 0:
            _, at = _number(data, at)
        elif tag & 7 in (1, 5):
            at += 8 if tag & 7 == 1 else 4
        elif tag & 7 != 2:
            return []
        if at < 0 or at + size > len(data):
            return []
        if tag & 7 == 2:
            found.append((start, at, at + size))
        at += size
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint and the place after it; that place is far below 0 if there is none."""
    value = 0
    for shift in range(0, 64, 7):
        if not 0 <= at < len(data):
            break
        byte = data[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    return 0, -(1 << 40)
