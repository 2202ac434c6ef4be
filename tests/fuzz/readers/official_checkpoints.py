"""An official checkpoint: PyTorch or safetensors, with its YAML and its JSON beside it."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_json import changed, changed_text
from tests.fuzz.mutate_zip import Member, archive, edited, members_of
from tests.fuzz.reader import Files, Reader, one_file
from tests.importing.golden import checkpoint
from trm_export.errors import CheckpointError

CONFIG, DATASET = "all_config.yaml", "dataset.json"
_SAFETENSORS, _TORCH = "step_10.safetensors", "step_10"
_YAML_PARTS = (
    b"x: &x [*x]\n", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", b'!!int ""', b"!!timestamp z",
    b"!!binary ?", b"<<: {a: 1}\n", b"? [a, b]\n: c\n", b"!!python/object:os.system x", b"1_0:60",
    b"--- a\n", b"%TAG ! x\n", b"&a " * 50, b"[" * 3000, b"{a: " * 300, b"0x" + b"f" * 9000, b"\t",
    b".nan", b"-.inf", b"9" * 400, b"9" * 5000, b"\x85", b"\xed\xa0\x80", b'"\\ud800"',
)  # fmt: skip


@functools.cache
def _folder() -> Files:
    """A small network and its documents."""
    folder = checkpoint("rope_plain").parent
    return {name: (folder / name).read_bytes() for name in (_SAFETENSORS, CONFIG, DATASET)}


@functools.cache
def _torch_seeds() -> Sequence[Files]:
    """A file of today, and one of PyTorch before 1.6, which is no archive."""
    import torch

    tensors = {"model.a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4).bfloat16()}
    found = []
    for modern in (True, False):
        file = io.BytesIO()
        torch.save(tensors, file, _use_new_zipfile_serialization=modern)
        found.append({_TORCH: file.getvalue()})
    return found


@functools.lru_cache(8)
def _members(data: bytes) -> list[Member]:
    return members_of(data)


def _mutate_torch(rng: Random, data: bytes) -> bytes:
    """Damage of the file, or of a member under a right checksum, its pickle above all."""
    if not data.startswith(b"PK") or rng.random() < 0.2:
        return damaged(rng, data)
    return archive(edited(rng, _members(data)))


def _mutate_safetensors(rng: Random, data: bytes) -> bytes:
    """Damage of the file, or another header of a right length."""
    if rng.random() < 0.3:
        return damaged(rng, data)
    (size,) = struct.unpack_from("<Q", data)
    header = changed_text(rng, data[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def _mutate_documents(rng: Random, files: Files) -> Files:
    """Other values in one of the documents, or text that is nearly YAML."""
    name = rng.choice((CONFIG, CONFIG, DATASET))
    if name == DATASET:
        return {**files, name: changed_text(rng, files[name])}
    kind = rng.random()
    if kind < 0.3:
        return {**files, name: damaged(rng, files[name])}
    if kind < 0.6:
        at = rng.choice([i for i, byte in enumerate(files[name]) if byte in b": \n"])
        return {**files, name: files[name][: at + 1] + rng.choice(_YAML_PARTS) + files[name][at:]}
    return {**files, name: changed(rng, yaml.safe_load(files[name]))}  # JSON is YAML


def _mutate_any(rng: Random, files: Files) -> Files:
    if rng.random() < 0.6:
        return _mutate_documents(rng, files)
    return {**files, _SAFETENSORS: _mutate_safetensors(rng, files[_SAFETENSORS])}


def _read_safetensors(folder: Path) -> Any:
    from trm_export.importing.tensors import read_checkpoint

    return _plain(read_checkpoint(folder / _SAFETENSORS).arrays)


def _read_torch(folder: Path) -> Any:
    from trm_export.importing.tensors import read_checkpoint

    return _plain(read_checkpoint(folder / _TORCH).arrays)


def _plain(arrays: Any) -> Any:
    return sorted((name, a.dtype.name, a.shape, a.tobytes()) for name, a in arrays.items())


def _read_documents(folder: Path) -> Any:
    from trm_export.importing.folder import read_folder

    found = read_folder(folder / _TORCH)
    return json.dumps(found.arch, default=str), found.ema


def _settings(folder: Path) -> Any:
    """All of an import but the values of the weights."""
    from trm_export.importing.folder import read_folder
    from trm_export.importing.load import _misfits
    from trm_export.importing.settings import alphabet, resolve
    from trm_export.importing.shapes import facts
    from trm_export.importing.tensors import read_checkpoint

    stored = read_checkpoint(folder / _SAFETENSORS)
    documents = read_folder(stored.path)
    settings = resolve(facts(stored.arrays), documents, {})
    problems = [*stored.problems, *settings.problems] or _misfits(stored, settings)
    if problems:
        raise CheckpointError("It cannot be imported:", problems)
    return repr(settings), alphabet(settings.arguments(), documents)


def _load() -> None:
    import trm_export.importing.load  # noqa: F401


def _torch() -> None:
    import torch  # noqa: F401

    import trm_export.importing.load  # noqa: F401


def _only(*names: str) -> Sequence[Files]:
    return [{name: _folder()[name] for name in names}]


READERS = (
    Reader("safetensors", lambda: _only(_SAFETENSORS), one_file(_mutate_safetensors),
           _read_safetensors, prepare=_load),
    Reader("run documents", lambda: _only(CONFIG, DATASET), _mutate_documents, _read_documents,
           prepare=_load),
    Reader("import", lambda: [_folder()], _mutate_any, _settings, prepare=_load, batch=200),
    *([Reader("pytorch", _torch_seeds, one_file(_mutate_torch), _read_torch, prepare=_torch)]
      if importlib.util.find_spec("torch") else []),
)  # fmt: skip
