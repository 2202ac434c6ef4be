"""Changes of a `.npy` file: its header, its data, or a whole other array."""

from __future__ import annotations

import io
from random import Random

import numpy as np

from tests.fuzz.mutate_bytes import damaged

_MAGIC = b"\x93NUMPY"
_DTYPES = ("<f4", ">f4", "<f8", "<i4", "|i1", "|u1", "<i8", "|b1", "|O", "<U9", "|S0", "<M8[s]")
_SHAPES = ("()", "(0,)", "(1,)", "(7,)", "(10**12,)", "(1000000000000,)", "(-1,)", "(1, 1)")
_TEXTS = ("", "[", "(" * 300, "'" * 9, "{'descr': [('a', '<i4')], 'shape': (1,)}", "None", "\0")
_MANY = 1 << 22
_SPECIAL = (0, 1, -1, 127, 255, 10**9, -(10**9), float("nan"), float("inf"), 3e38)


def changed(rng: Random, data: bytes) -> bytes:
    """The bytes of another `.npy` file, or of a damaged one."""
    kind = rng.random()
    if kind < 0.35:
        return _header(rng, data)
    return _array(rng, data) if kind < 0.85 else damaged(rng, data)


def _header(rng: Random, data: bytes) -> bytes:
    """Another text of the header, with its length right or wrong."""
    size = int.from_bytes(data[8:10], "little")
    text, body = data[10 : 10 + size].decode("latin1"), data[10 + size :]
    for word, others in (("shape", _SHAPES), ("descr", [f"'{d}'" for d in _DTYPES])):
        if rng.random() < 0.5:
            start = text.find(":", text.find(f"'{word}'")) + 1
            end = text.find(")" if word == "shape" else ",", start) + (word == "shape")
            text = text[:start] + rng.choice(others) + text[end:]
    if rng.random() < 0.2:
        text = rng.choice(_TEXTS)
    if rng.random() < 0.2:
        text = damaged(rng, text.encode("latin1")).decode("latin1")
    header = text.encode("latin1")
    length = rng.choice((len(header), len(header), 0, 65535, size)) % 65536
    version = rng.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\x09\0"))
    return _MAGIC + version + length.to_bytes(2, "little") + header + body


def _array(rng: Random, data: bytes) -> bytes:
    """A valid file of another array: values, shape or dtype."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:  # a file that an earlier change damaged
        return damaged(rng, data)
    if array.size > _MANY:  # of no bytes each
        return damaged(rng, data)
    with np.errstate(all="ignore"):
        array = _other(rng, array)
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def _other(rng: Random, array: np.ndarray) -> np.ndarray:
    kind = rng.randrange(6)
    if kind == 0 and array.size:
        array = array.copy()
        flat = array.reshape(-1)
        value = np.float64(rng.choice(_SPECIAL))
        flat[rng.randrange(len(flat))] = np.nan_to_num(value).astype(array.dtype)
        return array
    if kind == 1 and array.dtype.kind not in "SUV":  # text is no number
        return array.astype(rng.choice(("f4", "f8", "i4", "i1", "?", "i8", "U3")))
    if kind == 2 and array.ndim:
        return np.repeat(array, rng.choice((0, 2, 3)), axis=rng.randrange(array.ndim))
    if kind == 3:
        return array.reshape(rng.choice(((-1,), (1, *array.shape), (*array.shape, 1))))
    if kind == 4 and array.ndim:
        return np.delete(array, 0, axis=rng.randrange(array.ndim)) if array.size else array
    return np.full_like(array, np.nan_to_num(rng.choice(_SPECIAL)).astype(array.dtype))
