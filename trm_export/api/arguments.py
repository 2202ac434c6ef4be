"""What the functions of the public API take: a model or its file, trusted packages, progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from trm_export.step.step_model import AnyModel

FilePath: TypeAlias = str | os.PathLike[str]
ModelLike: TypeAlias = Union[FilePath, "AnyModel"]
"""A `.keras` file, a Keras model that follows the protocol, or one that is adapted already."""
Progress: TypeAlias = Callable[[float, str], object]
"""Told how much is done, from 0 to 1 (0 throughout where that is not known), and what is done."""
ARTIFACTS = Path("artifacts")
"""Where a file goes that nobody names."""


def file_of(model: ModelLike) -> Path | None:
    """The file of a model that is named by its path; None for a model in memory."""
    return Path(model) if isinstance(model, str | os.PathLike) else None


def stem_of(model: ModelLike) -> str:
    """What files made from this model are named after: its file, or its Keras name."""
    file = file_of(model)
    return str(getattr(model, "name", "model")) if file is None else file.stem


def packages(trust: Sequence[str]) -> tuple[str, ...]:
    """The trusted packages, a single name given as a plain text included.

    Raises UsageError for a package that does not exist, before any of its code runs.
    """
    from trm_export.checkpoints.keras_classes import require_modules

    names = (trust,) if isinstance(trust, str) else tuple(trust)
    require_modules(names)
    return names


def ignore(done: float, note: str) -> None:
    """Progress that nobody wants to see."""
