"""The formats of puzzle files on a device: tables, JSON, gzip, ZIP, an .npz."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutate_npy
from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_json import changed_text
from tests.fuzz.mutate_zip import DEFLATED, Member, archive, edited, members_of
from tests.fuzz.reader import Files, Reader, one_file
from tests.runtime.fakes import make_contract
from trm_runtime import read_puzzles

_JSON, _PACKED, _ARRAYS = "puzzles.json", "puzzles.txt", "puzzles.npz"
_CONTRACT = make_contract()
_TEXT = b"puzzle,solution\n1234,4321\n11.2,\n"


def _documents() -> Sequence[Files]:
    texts = (
        b'[{"puzzle": "1234", "solution": [4, 3, 2, 1]}]',
        b"[[[1, 2], [3, null]], [1, 1, 2, 2]]",
    )
    return [{_JSON: text} for text in texts]


def _packed() -> Sequence[Files]:
    zipped = archive([Member("puzzles.csv", _TEXT, DEFLATED)])
    return [{_PACKED: zipped}, {_PACKED: gzip.compress(_TEXT, mtime=0)}, {_PACKED: _TEXT}]


@functools.cache
def _arrays() -> Sequence[Files]:
    file = io.BytesIO()
    np.savez(file, inputs=np.array([[1, 2, 3, 4]]), puzzle_identifiers=np.array([3]))
    return [{_ARRAYS: file.getvalue()}]


def _mutate_packed(rng: Random, data: bytes) -> bytes:
    """Damage of the archive, or of the text inside."""
    if rng.random() < 0.4:
        return damaged(rng, data)
    text = damaged(rng, _TEXT)
    if rng.random() < 0.5:
        return gzip.compress(text * rng.choice((1, 1, 300)), mtime=0)
    return archive(edited(rng, [Member("puzzles.csv", text, DEFLATED)]))


def _mutate_arrays(rng: Random, data: bytes) -> bytes:
    if rng.random() < 0.2:
        return damaged(rng, data)
    return archive(
        edited(rng, members_of(data), lambda rng, member: mutate_npy.changed(rng, member.data))
    )


def _call(name: str, folder: Path) -> Any:
    return read_puzzles(folder / name, _CONTRACT).tolist()


READERS = (
    Reader("puzzles, JSON", _documents, one_file(changed_text), functools.partial(_call, _JSON)),
    Reader("puzzles, packed", _packed, one_file(_mutate_packed), functools.partial(_call, _PACKED)),
    Reader("puzzles, npz", _arrays, one_file(_mutate_arrays), functools.partial(_call, _ARRAYS)),
)
