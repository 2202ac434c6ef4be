"""The common arguments of the public API: a model or its file, trusted packages, progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from trm_export.errors import UsageError

if TYPE_CHECKING:
    from trm_export.step.step_model import AnyModel

FilePath: TypeAlias = str | os.PathLike[str]
ModelLike: TypeAlias = Union[FilePath, "AnyModel"]
"""A `.keras` file, a Keras model that follows the protocol, or one that is adapted already."""
Progress: TypeAlias = Callable[[float, str], object]
"""Called with the share that is done, 0 to 1 (always 0 if unknown), and what is being done."""
ARTIFACTS = Path("artifacts")
"""The default folder of output files."""


def file_of(model: ModelLike) -> Path | None:
    """The file of a model that is given by its path; None for a model in memory."""
    return Path(model) if isinstance(model, str | os.PathLike) else None


def stem_of(model: ModelLike) -> str:
    """The stem of the names of output files: that of the model's file, or its Keras name."""
    file = file_of(model)
    return str(getattr(model, "name", "model")) if file is None else file.stem


def packages(trust: Sequence[str]) -> tuple[str, ...]:
    """The trusted packages as a tuple; a single name may be given as a string.

    Raises UsageError for a package that does not exist, before any of its code runs.
    """
    from trm_export.checkpoints.keras_classes import require_modules

    names = (trust,) if isinstance(trust, str) else tuple(trust)
    require_modules(names)
    return names


_COUNTED = ("count", "batch_size", "jobs", "tries")  # what a call always has a number of


def refuse_counts(**counts: int | None) -> None:
    """UsageError for a number of things that is not 1 or more; None is the default of some."""
    for name, count in counts.items():
        if count is None and name not in _COUNTED:
            continue
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UsageError(f"{name} must be a whole number, 1 or more, got {count!r}.")


def ignore(done: float, note: str) -> None:
    """Discards the progress."""
