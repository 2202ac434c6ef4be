"""Read the tensors of a PyTorch file into numpy. PyTorch is an extra; it unpickles weights only.

PyTorch does not look at the checksums of its ZIP archive, so they are checked here first.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from trm_export.errors import CheckpointError
from trm_export.importing.shapes import EMBED
from trm_export.step.weights import Arrays
from trm_runtime.extras import load_extra
from trm_runtime.message_text import shown
from trm_runtime.zip_members import DAMAGE, opened_archive

_ZIP = b"PK\x03\x04"
_PICKLE, _MAX_PICKLE = "data.pkl", 1 << 22  # bytes; some 200 a tensor
_MAX_TENSORS = 10_000
_ANCHOR, _DEEPEST = EMBED.partition(".")[2], 3  # levels of dictionaries around the weights
_SHARED = 1 << 27  # bytes that tensors may have beyond those of the file, because they share some
_OTHER = (
    ", or a damaged one; expected what the official code saves (step_<N> or .pt), or the same "
    "tensors as .safetensors"
)
_GLOBAL = re.compile(r"GLOBAL (\S+)")  # how torch's unpickler names an object that is no tensor


def read(path: Path) -> Arrays:
    """Every tensor of a saved `state_dict()` by its name in the file.

    Raises MissingExtraError without PyTorch, CheckpointError for a damaged file, for a pickle of
    other objects than tensors and, listing them, for entries that are not plain weights.
    """
    torch = load_extra("torch", "torch", "trm-export")
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns about is checked here
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler may raise anything
        raise CheckpointError(
            f"{path}: not a PyTorch file of plain tensors{_remedy(error)}."
        ) from error
    if not isinstance(stored, dict):
        kind = type(stored).__name__
        raise CheckpointError(
            f"{path}: expected a state_dict, a dictionary of tensors, got {kind}."
        )
    stored = _weights(torch, stored, path)
    limit = path.stat().st_size + _SHARED
    if len(stored) > _MAX_TENSORS:
        raise CheckpointError(f"{path}: has {len(stored):,} tensors, more than any such network.")
    problems = [f"{shown(name)}: not a name" for name in stored if not isinstance(name, str)]
    problems = problems or [
        f"{name}: {why}" for name, x in stored.items() if (why := _wrong(torch, x, limit))
    ]
    if not problems and sum(_sizes(stored.values())) > limit:
        problems = ["its tensors declare more values than the file contains"]
    if problems:
        raise CheckpointError(f"{path}: expected a state_dict of weights only:", problems)
    return {name: _array(torch, tensor) for name, tensor in stored.items()}


def _weights(torch: Any, stored: dict[Any, Any], path: Path) -> dict[Any, Any]:
    """The dictionary of tensors in a saved training state; the given one if it has tensors itself.

    Raises CheckpointError where several entries are models.
    """
    if any(isinstance(value, torch.Tensor) for value in stored.values()):
        return stored
    models = dict(_models(stored, _DEEPEST))
    if len(models) > 1:
        raise CheckpointError(
            f"{path}: has the weights of several models, under {', '.join(map(shown, models))}; "
            "save the state_dict() of the one that you mean alone."
        )
    return next(iter(models.values()), stored)


def _models(stored: dict[Any, Any], levels: int) -> Iterator[tuple[str, dict[Any, Any]]]:
    """(name, tensors) of every dictionary inside with the embedding of the tokens."""
    for name, value in stored.items():
        if not isinstance(value, dict):
            continue
        if any(isinstance(key, str) and key.endswith(_ANCHOR) for key in value):
            yield str(name), value
        elif levels:
            yield from ((f"{name}.{inner}", x) for inner, x in _models(value, levels - 1))


def _sizes(tensors: Iterable[Any]) -> Iterable[int]:
    """The bytes of each tensor; one that has several names, such as tied weights, once."""
    places = {
        (x.data_ptr(), x.dtype, tuple(x.shape), x.stride()): x.numel() * x.element_size()
        for x in tensors
    }
    return places.values()


def _check_archive(path: Path) -> None:
    """CheckpointError unless every member equals its CRC; a file of PyTorch before 1.6 has none."""
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP:
                return
            with opened_archive(file) as archive:
                for member in archive.infolist():
                    if member.compress_type != zipfile.ZIP_STORED:
                        raise ValueError("a member is compressed")
                    if member.filename.endswith(_PICKLE) and member.file_size > _MAX_PICKLE:
                        raise ValueError(f"its {_PICKLE} has {member.file_size:,} bytes")
                bad = archive.testzip()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except DAMAGE as error:
        raise CheckpointError(f"{path}: not a PyTorch file of plain tensors{_OTHER}.") from error
    if bad is not None:
        raise CheckpointError(f"{path}: damaged: {bad} does not match its checksum; copy it again.")


def _wrong(torch: Any, value: Any, limit: int) -> str | None:
    """Why this is no weight; a tensor may claim any size, so sizes come before values."""
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}, not a tensor"
    if value.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        name = str(value.dtype).removeprefix("torch.")
        return f"dtype {name}, expected float32, bfloat16 or float16"
    if value.is_nested or value.layout != torch.strided or value.is_meta:
        return "not a dense tensor"
    if value.is_neg() or value.is_conj():
        return "a view with another sign than its values"
    if value.numel() * value.element_size() > limit:
        return f"declares {value.numel():,} values, more than the file contains"
    return None


def _array(torch: Any, tensor: Any) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        bits: np.ndarray[Any, Any] = tensor.view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    array: np.ndarray[Any, Any] = tensor.numpy()
    return array


def _remedy(error: Exception) -> str:
    """The cause and the remedy; torch's own message advises to switch `weights_only` off."""
    named = _GLOBAL.search(str(error))
    if named is not None:
        return f": it refers to {named[1]}; save the state_dict() of the model alone"
    return _OTHER
