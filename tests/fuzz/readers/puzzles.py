"""Puzzles and identifiers as text files on a device, and the table of puzzle embeddings."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutate_npy
from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.reader import Files, Reader, one_file
from tests.runtime.fakes import make_contract
from trm_runtime import CarrySpec, StepContract, TensorSpec, read_identifiers, read_puzzles
from trm_runtime.puzzle_table import EMBEDDING, open_table

_NAME, _TABLE = "puzzles.txt", "table.npy"
_CONTRACT = make_contract()
_PUZZLES = (
    b"1234\n.0_1\n# a remark\n\n4321\n",
    b"1 2 3 4\n4, 1, 1, 2\n",
    "\ufeff1111\r\n".encode(),
)
_IDENTIFIERS = (b"0\n12\n-3\n", b"999999999\n1\n")
_WORDS = (b"9" * 5000, b"-", b"\x85", "\u2028".encode(), "\u0661".encode(), b"+1", b"1e3", b"1_0")


def _mutate(rng: Random, data: bytes) -> bytes:
    """Damage, words that are nearly numbers, long lines and many of them."""
    kind = rng.random()
    if kind < 0.1:
        return data * rng.choice((2, 200))
    if kind < 0.4:
        at = rng.randrange(len(data) + 1)
        return data[:at] + rng.choice(_WORDS) + data[at:]
    return damaged(rng, data)


def _table() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(12, dtype=np.float32).reshape(4, 3))
    return file.getvalue()


def _call_puzzles(folder: Path) -> Any:
    return read_puzzles(folder / _NAME, _CONTRACT).tolist()


def _call_identifiers(folder: Path) -> Any:
    return read_identifiers(folder / _NAME).tolist()


def _call_table(folder: Path) -> Any:
    """The checksum of the contract is that of the file, as after a deliberate change."""
    path = folder / _TABLE
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return open_table(path, _with_table(digest)).tobytes()


def _with_table(digest: str) -> StepContract:
    rows = (None, 3)
    current = CarrySpec(f"current_{EMBEDDING}", f"current_{EMBEDDING}_next", "float32", rows, 0.0)
    return dataclasses.replace(
        _CONTRACT,
        inputs=(*_CONTRACT.inputs, TensorSpec(EMBEDDING, "float32", rows)),
        carry=(*_CONTRACT.carry, current),
        num_puzzle_identifiers=4,
        puzzle_table_sha256=digest,
    )


def _seeds(name: str, texts: Sequence[bytes]) -> Sequence[Files]:
    return [{name: text} for text in texts]


READERS = (
    Reader("puzzles", lambda: _seeds(_NAME, _PUZZLES), one_file(_mutate), _call_puzzles),
    Reader("identifiers", lambda: _seeds(_NAME, _IDENTIFIERS), one_file(_mutate),
           _call_identifiers),
    Reader("puzzle table", lambda: _seeds(_TABLE, [_table()]), one_file(mutate_npy.changed),
           _call_table),
)  # fmt: skip
