"""Load an optional package, or raise an error with the command that installs it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from trm_runtime.errors import MissingExtraError
from trm_runtime.message_text import first_line


def load_extra(module: str, extra: str, distribution: str = "trm-runtime") -> ModuleType:
    """Import `module`, which comes with `distribution[extra]`.

    Raises MissingExtraError if it is not installed, or broken.
    """
    install = install_line(extra, distribution)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise _broken(module, install, error) from error
        raise _missing(module, extra, distribution) from None
    except MemoryError:
        raise
    except Exception as error:  # such as the AttributeError of a package for another numpy
        raise _broken(module, install, error) from error


def require_extra(module: str, extra: str, distribution: str = "trm-runtime") -> None:
    """MissingExtraError if `module` is not installed; loads nothing."""
    if importlib.util.find_spec(module) is None:
        raise _missing(module, extra, distribution)


def load_first_extra(
    extras: Mapping[str, str], hint: str, distribution: str = "trm-runtime"
) -> ModuleType:
    """Import the first installed module of {module: extra}, which are alternatives.

    `hint`, in the message, helps to choose one.

    Raises MissingExtraError if none is installed, or the first that is installed is broken.
    """
    package = first_installed(extras)
    for module, extra in extras.items():
        if module.partition(".")[0] == package:
            return load_extra(module, extra, distribution)
    names = " nor ".join(module.partition(".")[0] for module in extras)
    lines = " or ".join(f"`{install_line(extra, distribution)}`" for extra in extras.values())
    raise MissingExtraError(f"Neither {names} is installed; install one with {lines} ({hint}).")


def _missing(module: str, extra: str, distribution: str) -> MissingExtraError:
    line = install_line(extra, distribution)
    return MissingExtraError(f"{module} is not installed; install it with `{line}`.")


def first_installed(modules: Iterable[str]) -> str | None:
    """The package of the first of these modules that is installed."""
    packages = (module.partition(".")[0] for module in modules)
    return next((name for name in packages if importlib.util.find_spec(name) is not None), None)


def install_line(extra: str, distribution: str = "trm-runtime") -> str:
    """The command that installs an extra.

    pip needs no index for a distribution that is installed; one that is not runs from its sources.
    """
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        distribution = _sources(distribution)
    return f'pip install "{distribution}[{extra}]"'


def _sources(distribution: str) -> str:
    """The folder of its sources, as pip takes it; the name itself where there are none."""
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    if spec is None or spec.origin is None:
        return distribution
    folder, here = Path(spec.origin).parents[1], Path.cwd()
    if not (folder / "pyproject.toml").is_file():
        return distribution
    if folder == here:
        return "."
    return f"./{folder.relative_to(here).as_posix()}" if here in folder.parents else str(folder)


def _broken(module: str, install: str, error: Exception) -> MissingExtraError:
    return MissingExtraError(
        f"{module} is installed but cannot be loaded ({first_line(error)}); reinstall it with "
        f"`{install}`."
    )
