"""Read the tensors of a checkpoint by their official names, from either kind of file.

`.safetensors` is read by the `safetensors` package, everything else as a PyTorch file. Knows
nothing about what a tensor is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trm_export.checkpoints.torch_names import SAFETENSORS, refuse_checkpoint, the_checkpoint
from trm_export.errors import CheckpointError
from trm_export.importing.shapes import EMBED
from trm_export.step.weights import Arrays

_INNER, _ANCHOR = "inner.", EMBED.removeprefix("inner.")  # a tensor that every network has
_WRAPPERS = ("_orig_mod.", "module.", "model.")  # of torch.compile, DataParallel and the loss


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
    path = the_checkpoint(path)
    refuse_checkpoint(path)
    kind = "safetensors" if path.suffix.lower() == SAFETENSORS else "torch"
    if kind == "safetensors":
        from trm_export.importing.safetensors_file import read
    else:
        from trm_export.importing.torch_file import read
    stored = read(path)
    prefixes = _prefixes(stored)
    if len({_without_wrappers(prefix) for prefix in prefixes}) > 1:
        named = ", ".join(map(repr, prefixes))
        raise CheckpointError(
            f"{path}: has the weights of several models, under {named}; save the one that you mean "
            "alone."
        )
    names = {name: _official(name, prefixes) for name in stored}
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    return Checkpoint(
        path,
        kind,
        {names[name]: array for name, array in stored.items()},
        tuple(sorted({name.removesuffix(names[name]) for name in names})),
        tuple(f"{name}: in the file more than once, under several prefixes" for name in twice),
    )


def _prefixes(names: Iterable[str]) -> list[str]:
    """What is before the token embedding in its names: usually one wrapper, and `inner.`."""
    return sorted(name.removesuffix(_ANCHOR) for name in names if name.endswith(_ANCHOR))


def _without_wrappers(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.removeprefix(next(one for one in _WRAPPERS if name.startswith(one)))
    return name


def _official(name: str, prefixes: Sequence[str]) -> str:
    """The name without the wrappers around its model, and with `inner.` in front."""
    inner = all(prefix.endswith(_INNER) for prefix in prefixes)
    outer = (prefix.removesuffix(_INNER) for prefix in prefixes)
    prefix = next((one for one in outer if name.startswith(one)), "")
    bare = _without_wrappers(name.removeprefix(prefix))
    return bare if inner else _INNER + bare
