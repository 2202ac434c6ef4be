"""The `.tflite` file and the SavedModel folder: checksums and contract; and the engines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutate_bytes import damaged, number
from tests.fuzz.mutate_json import changed_text
from tests.fuzz.mutate_wire import changed
from tests.fuzz.mutate_zip import Member, archive, edited, local_part
from tests.fuzz.reader import Files, Reader, one_file
from tests.fuzz.toy_models import BATCH, SAVED_MODEL, TFLITE, toy_models
from tests.runtime.fakes import make_contract
from trm_runtime import StepContract, open_runner, solve
from trm_runtime.drivers import litert, saved_model, saved_model_folder, tflite_file
from trm_runtime.drivers.saved_model_folder import CHECKSUM_FILE, CONTRACT_FILE
from trm_runtime.drivers.tflite_file import CHECKSUM_MEMBER, CONTRACT_MEMBER

_NAME, _FOLDER = "model.tflite", "model"
_PUZZLES = np.array([[1, 2, 3, 4], [2, 1, 1, 3]], np.int32)
_SUMS, _CONTRACT = f"{_FOLDER}/{CHECKSUM_FILE.as_posix()}", f"{_FOLDER}/{CONTRACT_FILE.as_posix()}"


def _text() -> bytes:
    return make_contract(batch=BATCH).to_json().encode()


def _flatbuffer() -> bytes:
    """The shortest one whose letters are right; no engine opens it."""
    return b"\x1c\0\0\0TFL3" + bytes(range(64))


def _engine_flatbuffer() -> bytes:
    return toy_models()[TFLITE]


def _tflite(data: bytes, contract: bytes, rng: Random | None = None) -> bytes:
    """A flatbuffer with its archive, of which a member is changed if there is a `rng`."""
    members = [Member(CONTRACT_MEMBER, contract)]
    if rng is not None and rng.random() < 0.5:
        members = edited(rng, members)
    checksum = hashlib.sha256(data + local_part(members)).hexdigest().encode()
    members.append(Member(CHECKSUM_MEMBER, checksum))
    if rng is not None and rng.random() < 0.5:
        members = edited(rng, members)
    return archive(members, data)


def _mutate_tflite(rng: Random, data: bytes) -> bytes:
    kind = rng.random()
    if kind < 0.35:
        return damaged(rng, data)
    if kind < 0.7:
        return _tflite(_flatbuffer(), _text(), rng)
    return _tflite(_flatbuffer(), changed_text(rng, _text()))


def _mutate_engine_tflite(rng: Random, data: bytes) -> bytes:
    """Only what the checksum does not find: offsets, tables and the contract."""
    flat, kind = _engine_flatbuffer(), rng.random()
    if kind < 0.3:
        return _tflite(flat, changed_text(rng, _text()))
    return _tflite(number(rng, flat) if kind < 0.7 else damaged(rng, flat), _text())


def _read_tflite(folder: Path) -> Any:
    text = tflite_file.read_contract(folder / _NAME)
    return StepContract.from_json(text).to_json().encode()


def _solve(path: Path, threads: int | None = None) -> Any:
    solution = solve(open_runner(path, threads), _PUZZLES)
    return solution.answers.tolist(), solution.steps.tolist(), solution.stop_reasons


def _with_sums(files: Files) -> dict[str, bytes]:
    """The files of a folder, and their right checksums."""
    lines = [
        f"{hashlib.sha256(data).hexdigest()}  {name[len(_FOLDER) + 1 :]}\n"
        for name, data in files.items()
        if name != _SUMS
    ]
    return {**files, _SUMS: "".join(lines).encode()}


def _plain_folder() -> Sequence[Files]:
    return [_with_sums({f"{_FOLDER}/saved_model.pb": b"\x08\x01", _CONTRACT: _text()})]


def _engine_folder() -> Sequence[Files]:
    files = toy_models().items()
    inside = len(SAVED_MODEL)
    return [{_FOLDER + name[inside:]: data for name, data in files if name != TFLITE}]


def _mutate_folder(rng: Random, files: Files) -> Files:
    """Damage of a file or of the checksums; or a changed one under right checksums."""
    found, name = dict(files), rng.choice(list(files))
    change = changed_text if name == _CONTRACT else changed if name.endswith(".pb") else damaged
    found[name] = change(rng, found[name])
    if rng.random() < 0.1:
        del found[rng.choice(list(files))]
    if rng.random() < 0.1:
        found[f"{_FOLDER}/new"] = b"new"
    return found if name == _SUMS or rng.random() < 0.3 else _with_sums(found)


def _mutate_engine_folder(rng: Random, files: Files) -> Files:
    found, name = dict(files), rng.choice([name for name in files if name != _SUMS])
    change = changed_text if name == _CONTRACT else changed if name.endswith(".pb") else damaged
    found[name] = change(rng, found[name])
    return _with_sums(found)


def _read_folder(folder: Path) -> Any:
    text = saved_model_folder.read_contract(folder / _FOLDER)
    return StepContract.from_json(text).to_json().encode()


def _prepare_litert() -> None:
    litert.load_engine()
    toy_models()


def _prepare_tensorflow() -> None:
    saved_model.load_engine()
    toy_models()


READERS = (
    Reader("tflite", lambda: [{_NAME: _tflite(_flatbuffer(), _text())}], one_file(_mutate_tflite),
           _read_tflite),
    Reader("SavedModel", _plain_folder, _mutate_folder, _read_folder),
    Reader("tflite, run", lambda: [{_NAME: _tflite(_engine_flatbuffer(), _text())}],
           one_file(_mutate_engine_tflite), lambda folder: _solve(folder / _NAME, 1), True,
           _prepare_litert, 200),
    Reader("SavedModel, run", _engine_folder, _mutate_engine_folder,
           lambda folder: _solve(folder / _FOLDER), True, _prepare_tensorflow, 20),
)  # fmt: skip
