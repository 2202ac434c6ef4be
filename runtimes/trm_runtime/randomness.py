"""The random numbers that change answers, the same in every language; see docs/contract.md.

A word is a 32-bit unsigned integer. A stream is named by numbers (a seed, a try, a purpose), and
its word n is computed from n alone. Not for secrets. The mixing function is `lowbias32` of Chris
Wellons' hash-prospector, the increment that of SplitMix (Steele, Lea, Flood 2014). Knows numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_INCREMENT = 0x9E3779B9
_MASK = 0xFFFFFFFF
_MIDDLE = 510  # mean of the sum of four bytes
_VARIANCE = 21845  # of that sum: 4 * (256 ** 2 - 1) / 12


def stream(*names: int) -> int:
    """The start of the stream with these names, each of 0 to 2**32 - 1."""
    start = 0
    for name in names:
        start = int(words(start ^ name, 0, 1)[0])
    return start


def words(start: int, first: int, count: int) -> Array:
    """(count,) uint32: the words `first` to `first + count - 1` of the stream."""
    numbers = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(first)) * np.uint64(_INCREMENT)
    x = ((numbers + np.uint64(start)) & np.uint64(_MASK)).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def noise(start: int, first: int, count: int, sigma: float) -> Array:
    """(count,) float32 with mean 0 and deviation `sigma`, nearly normal, from so many words.

    The sum of the four bytes of a word, less 510, times sigma / sqrt(21845): no value is further
    from 0 than 3.45 sigma.
    """
    sums = words(start, first, count).view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.int32)
    values: Array = (sums - _MIDDLE).astype(np.float32) * np.float32(sigma / _VARIANCE**0.5)
    return values
