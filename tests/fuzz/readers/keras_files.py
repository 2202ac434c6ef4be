"""The `.keras` file: its archive, its JSON and its HDF5, and the model that they describe."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_json import changed_text
from tests.fuzz.mutate_zip import DEFLATED, Member, archive, edited, members_of
from tests.fuzz.reader import Files, Reader, one_file
from trm_export.checkpoints.keras_file import CONFIG, WEIGHTS, inspect_keras, open_keras
from trm_export.checkpoints.shipped import shipped_checkpoint

_NAME = "model.keras"
_LARGE = (10**9, 1 << 20, 10**12, -1)  # values that a dataset declares and does not have


@functools.cache
def _seeds() -> Sequence[Files]:
    """A shipped model without its alphabet, and the same compressed, with half of its weights."""
    data = shipped_checkpoint("sudoku4").read_bytes()
    members = [Member(m.name, m.data, DEFLATED) for m in members_of(data)]
    return [{_NAME: data}, {_NAME: archive(members)}]


def _mutate(rng: Random, data: bytes) -> bytes:
    """Damage of the file, or other members under right checksums."""
    if rng.random() < 0.15:
        return damaged(rng, data)
    return archive(edited(rng, members_of(data), _inside))


def _config_only(rng: Random, data: bytes) -> bytes:
    """One argument of the model is another value."""
    members = {member.name: member for member in members_of(data)}
    config = json.loads(members[CONFIG].data)
    text = changed_text(rng, json.dumps(config["config"]).encode())
    head, tail = json.dumps({**config, "config": "?"}).encode().split(b'"?"')
    members[CONFIG] = Member(CONFIG, head + text + tail)
    return archive(list(members.values()))


def _inside(rng: Random, member: Member) -> bytes:
    if member.name != WEIGHTS:
        return changed_text(rng, member.data) if member.data else b""
    return damaged(rng, member.data) if rng.random() < 0.6 else _other_weights(rng, member.data)


def _other_weights(rng: Random, data: bytes) -> bytes:
    """A valid HDF5 file of other objects."""
    buffer = io.BytesIO(data)
    try:
        with h5py.File(buffer, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            rng.choice(_CHANGES)(rng, file, rng.choice(names))
    except Exception:  # a file that an earlier change damaged
        return damaged(rng, data)
    return buffer.getvalue()


def _link(rng: Random, file: Any, name: str) -> None:
    links = (h5py.SoftLink("/" + name), h5py.ExternalLink("/etc/passwd", name), file[name])
    file[f"new{rng.randrange(3)}"] = rng.choice(links)


def _many(rng: Random, file: Any, name: str) -> None:
    for number in range(rng.choice((3, 500))):
        file[f"more/{number}"] = file[name]


def _deep(rng: Random, file: Any, name: str) -> None:
    group = file.create_group("deep")
    for _ in range(rng.choice((5, 70))):
        group["b"], group = group.create_group("a"), group["a"]


def _dataset(rng: Random, file: Any, name: str) -> None:
    kinds = ("<f4", ">f4", "<f8", "|S3", "<i8", "?", h5py.string_dtype(), "V2", "<c8")
    values = np.zeros(rng.choice((0, 1, 12)), rng.choice(kinds[:-4]))
    options: dict[str, Any] = rng.choice(({}, {"compression": "gzip"}, {"chunks": True}))
    if rng.random() < 0.5:
        file.create_dataset("new", data=values, **(options if len(values) > 1 else {}))
    else:
        file.create_dataset("new", (abs(rng.choice(_LARGE)),), rng.choice(kinds))


def _remove(rng: Random, file: Any, name: str) -> None:
    del file[name]


def _nan(rng: Random, file: Any, name: str) -> None:
    found = file[name]
    if isinstance(found, h5py.Dataset) and found.size:
        found[...] = np.float32(rng.choice(("nan", "inf", "3e38", "0")))


def _attribute(rng: Random, file: Any, name: str) -> None:
    file[name].attrs[rng.choice(("dtype", "x" * 900))] = rng.choice(("bfloat16", 3, b"\xff"))


_CHANGES: tuple[Callable[[Random, Any, str], None], ...] = (
    _link, _many, _deep, _dataset, _dataset, _remove, _nan, _attribute,
)  # fmt: skip


def _call(folder: Path) -> Any:
    info = inspect_keras(folder / _NAME)
    return info.weights_sha256, info.parameters, json.dumps(info.config, ensure_ascii=False)


def _build(folder: Path) -> Any:
    """The model without the values of its weights."""
    from trm_export.checkpoints.loading import build

    model = build(open_keras(folder / _NAME))
    return repr(model.config)


def _load_keras() -> None:
    import trm_export.checkpoints.loading  # noqa: F401


READERS = (
    Reader("keras", _seeds, one_file(_mutate), _call),
    Reader("keras, build", _seeds, one_file(_config_only), _build, prepare=_load_keras, batch=200),
)
