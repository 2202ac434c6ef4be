"""Puzzles of the host: text and CSV, an .npz, and the folder of an official data set."""

from __future__ import annotations

import functools
import io
import json
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
from trm_export.tasks import TASKS, read_puzzles

_TEXT, _NPZ = "boards.csv", "boards.npz"
_FOLDER = ("train/dataset.json", "train/all__inputs.npy", "train/all__labels.npy")
_TASK = TASKS["sudoku4"]
_WORDS = (b'"', b",", b";", b"\t", b"#", b"\x85", b"\r", b"\0", b"quizzes", b"9" * 200_000, b'""\n')


@functools.cache
def _boards() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    found = _TASK.puzzles("test", count=4)
    return found.inputs, found.solutions


@functools.cache
def _texts() -> Sequence[Files]:
    signs = [characters[-1] if characters else "" for characters in _TASK.alphabet]
    pairs = [
        ["".join(signs[t] for t in row) for row in pair] for pair in zip(*_boards(), strict=True)
    ]
    lines = "\n".join(f"{a},{b}" for a, b in pairs)
    texts = (f"quizzes,solutions\n{lines}\n", "# four\n\n" + "\n".join(a for a, _ in pairs), lines)
    return [{_TEXT: text.encode()} for text in texts]


@functools.cache
def _archives() -> Sequence[Files]:
    inputs, labels = _boards()
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, inputs=inputs, labels=labels)
    np.savez_compressed(packed, inputs=inputs.astype("u1"))
    return [{_NPZ: plain.getvalue()}, {_NPZ: packed.getvalue()}]


@functools.cache
def _folders() -> Sequence[Files]:
    facts = {"sets": ["all"], "seq_len": _TASK.seq_len, "vocab_size": 6}
    arrays = []
    for array in _boards():
        file = io.BytesIO()
        np.save(file, array)
        arrays.append(file.getvalue())
    return [dict(zip(_FOLDER, [json.dumps(facts).encode(), *arrays], strict=True))]


def _mutate_text(rng: Random, data: bytes) -> bytes:
    """Damage, or words that mean something in a text."""
    if rng.random() < 0.5:
        return damaged(rng, data)
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_WORDS) + data[at:]


def _mutate_npz(rng: Random, data: bytes) -> bytes:
    """Damage of the file, or other arrays, sometimes packed."""
    if rng.random() < 0.15:
        return damaged(rng, data)
    found = edited(rng, members_of(data), lambda rng, member: mutate_npy.changed(rng, member.data))
    if rng.random() < 0.3:
        found = [Member(m.name, m.data, DEFLATED, m.size, m.crc, m.flags) for m in found]
    return archive(found)


def _mutate_folder(rng: Random, files: Files) -> Files:
    """One of the files is another one, or is missing."""
    name = rng.choice(_FOLDER)
    if rng.random() < 0.05:
        return {other: data for other, data in files.items() if other != name}
    change = changed_text if name.endswith(".json") else mutate_npy.changed
    return {**files, name: change(rng, files[name])}


def _call(folder: Path, name: str, split: str | None = None) -> Any:
    found = read_puzzles(folder / name, _TASK, split=split, limit=5)
    labels = None if found.labels is None else found.labels.tolist()
    return found.inputs.tolist(), labels, found.blanks.tolist()


READERS = (
    Reader("boards, text", _texts, one_file(_mutate_text), lambda folder: _call(folder, _TEXT)),
    Reader("boards, npz", _archives, one_file(_mutate_npz), lambda folder: _call(folder, _NPZ)),
    Reader("boards, folder", _folders, _mutate_folder,
           lambda folder: _call(folder, ".", "train")),
)  # fmt: skip
