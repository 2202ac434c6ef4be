"""Read the tensors of a checkpoint by their official names, from either kind of file.

`.safetensors` is read by the `safetensors` package, everything else as a PyTorch file. Knows
nothing about what a tensor is for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trm_export.errors import CheckpointError
from trm_export.step.weights import Arrays
from trm_runtime.regular_file import check_regular

MAX_BYTES = 1 << 31
_PREFIXES = ("_orig_mod.", "model.")  # left by torch.compile and by the loss around the model
_SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file."""

    path: Path
    kind: str  # "safetensors" or "torch"
    arrays: Arrays  # by official name, in the dtypes of the file
    prefixes: tuple[str, ...]  # removed from the names; "" for none
    problems: tuple[str, ...]  # names that are equal without their prefixes


def read_checkpoint(path: Path) -> Checkpoint:
    """Read every tensor of `path`.

    Raises CheckpointError for a file that is missing, too large, damaged or no plain dictionary of
    floating-point tensors, MissingExtraError for a PyTorch file where PyTorch is missing.
    """
    _refuse(path)
    kind = "safetensors" if path.suffix.lower() == _SAFETENSORS else "torch"
    if kind == "safetensors":
        from trm_export.importing.safetensors_file import read
    else:
        from trm_export.importing.torch_file import read
    stored = read(path)
    names = {name: _official(name) for name in stored}
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    return Checkpoint(
        path,
        kind,
        {names[name]: array for name, array in stored.items()},
        tuple(sorted({name.removesuffix(names[name]) for name in names})),
        tuple(f"{name}: in the file more than once, under several prefixes" for name in twice),
    )


def _refuse(path: Path) -> None:
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if _looks_like_one(file))
        listed = f"found: {', '.join(files[:8])}" if files else "it has none"
        raise CheckpointError(f"{path}: a folder; name the checkpoint file in it ({listed}).")
    try:
        check_regular(path)
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: has {size:,} bytes, at most {MAX_BYTES:,} are accepted.")


def _looks_like_one(file: Path) -> bool:
    return file.name.startswith("step_") or file.suffix.lower() in (_SAFETENSORS, ".pt", ".pth")


def _official(name: str) -> str:
    """The name without the prefixes that wrappers of the model leave, in any order."""
    while True:
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        if prefix is None:
            return name
        name = name.removeprefix(prefix)
