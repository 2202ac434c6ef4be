"""The common arguments of the public API: a model or its file, trusted packages, progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from trm_export.errors import UsageError
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer, as_real, whole

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

    names = names_of("trust", trust)
    require_modules(names)
    return names


def names_of(argument: str, given: str | Iterable[str]) -> tuple[str, ...]:
    """Names as a tuple, of which a single one may be given as it is; UsageError for others."""
    names = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{argument} must be a name or several names, got {shown(given)}.")
    return names


def path_of(argument: str, given: FilePath | None, usual: Path | None = None) -> Path:
    """The path, or the usual one, if there is any; UsageError for what is no path."""
    if given is None and usual is not None:
        return usual
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"{argument} must be the path of a file or folder, got {shown(given)}.")
    if "\0" in str(given):
        raise UsageError(f"{argument} must be a path without a null character, got {shown(given)}.")
    return Path(given)


def counts_of(**counts: int) -> tuple[int, ...]:
    """Numbers of things as integers; UsageError for one that is not 1 or more."""
    return tuple(whole(name, value) for name, value in counts.items())


def count_or_none(name: str, value: int | None) -> int | None:
    """The same of one number, where None is the default."""
    return None if value is None else whole(name, value)


def again_of(tries: int, vary: str, choose: str, seed: int, sigma: float) -> dict[str, Any]:
    """The options of `solve` about tries, as JSON has them; it checks what is no number."""
    number, deviation = as_integer(seed), as_real(sigma)
    return {
        "tries": tries,
        "vary": vary,
        "choose": choose,
        "seed": seed if number is None else number,
        "sigma": sigma if deviation is None else deviation,
    }


def reporter(progress: Progress | None) -> Progress:
    """The function to call with the progress, `ignore` for None; UsageError for other things."""
    if progress is None:
        return ignore
    if not callable(progress):
        raise UsageError(f"progress: expected a function, got {shown(progress)}.")
    return progress


def ignore(done: float, note: str) -> None:
    """Discards the progress."""
