"""Make damaged and foreign `.keras` files out of a sound one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py


def members(path: Path) -> dict[str, bytes]:
    """The members of a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip of these members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def with_config(source: Path, target: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of `source` whose `config.json` has been edited."""
    contents = members(source)
    config = json.loads(contents["config.json"])
    edit(config)
    contents["config.json"] = json.dumps(config).encode()
    return pack(target, contents)


def with_weights(source: Path, target: Path, edit: Callable[[h5py.File], None]) -> Path:
    """A copy of `source` whose HDF5 weights have been edited."""
    contents = members(source)
    buffer = io.BytesIO(contents["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        edit(file)
    contents["model.weights.h5"] = buffer.getvalue()
    return pack(target, contents)


def replace(file: h5py.File, path: str, data: Any, **options: Any) -> None:
    """Put another dataset in the place of one."""
    del file[path]
    file.create_dataset(path, data=data, **options)
