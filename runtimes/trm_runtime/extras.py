"""Load an optional package, or say in one sentence how to install it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from types import ModuleType

from trm_runtime.errors import MissingExtraError


def load_extra(module: str, extra: str, distribution: str = "trm-runtime") -> ModuleType:
    """Import `module`, which comes with `distribution[extra]`.

    Raises MissingExtraError when it is absent, or present and broken.
    """
    install = _install_line(extra, distribution)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise _broken(module, install, error) from error
        raise MissingExtraError(f"{module} is not installed; install it with: {install}") from None
    except ImportError as error:
        raise _broken(module, install, error) from error


def load_first_extra(
    extras: Mapping[str, str], hint: str, distribution: str = "trm-runtime"
) -> ModuleType:
    """Import the first installed module of {module: extra}, any of which would do.

    `hint` helps to choose one, in the message.

    Raises MissingExtraError when all are absent, or the first that is present is broken.
    """
    for module, extra in extras.items():
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            return load_extra(module, extra, distribution)
    names = " nor ".join(module.partition(".")[0] for module in extras)
    lines = " or: ".join(_install_line(extra, distribution) for extra in extras.values())
    raise MissingExtraError(f"neither {names} is installed; install one with: {lines} ({hint})")


def _install_line(extra: str, distribution: str) -> str:
    return f'pip install "{distribution}[{extra}]"'


def _broken(module: str, install: str, error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"{module} is installed but does not load ({error}); reinstall it with: {install}"
    )
