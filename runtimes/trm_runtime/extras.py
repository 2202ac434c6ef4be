"""Load an optional package, or say in one sentence how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType

from trm_runtime.errors import MissingExtraError


def load_extra(module: str, extra: str, distribution: str = "trm-runtime") -> ModuleType:
    """Import `module`, which comes with `distribution[extra]`.

    Raises MissingExtraError when it is absent, or present and broken.
    """
    install = f'pip install "{distribution}[{extra}]"'
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise _broken(module, install, error) from error
        raise MissingExtraError(f"{module} is not installed; install it with: {install}") from None
    except ImportError as error:
        raise _broken(module, install, error) from error


def _broken(module: str, install: str, error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"{module} is installed but does not load ({error}); reinstall it with: {install}"
    )
