"""Bring up Keras without its chatter; every command that needs it comes through here."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from trm_export.commands.support.exits import DEBUG
from trm_export.errors import BackendError, MissingExtraError

_TENSORFLOW = "tensorflow"


def load_keras(*, any_backend: bool = False) -> None:
    """Import Keras, and silence TensorFlow's log unless the environment asks for debugging.

    The backend is TensorFlow; with `any_backend` it is whatever KERAS_BACKEND says. Raises
    BackendError when KERAS_BACKEND names another one than this command runs on, or none at all,
    MissingExtraError when it is not installed.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", _TENSORFLOW)
    if backend != _TENSORFLOW and not any_backend:
        raise BackendError(
            f"This command runs on TensorFlow, but KERAS_BACKEND is {backend!r}; "
            f"unset it or set it to {_TENSORFLOW!r}."
        )
    if os.environ.get(DEBUG):
        _import(backend)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_held_back():
        _import(backend)
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)


def _import(backend: str) -> None:
    try:
        import keras  # noqa: F401
    except ValueError as error:
        raise BackendError(
            f"KERAS_BACKEND is {backend!r}, which Keras refuses: {error}."
        ) from error
    except ModuleNotFoundError as error:
        name = error.name or backend
        raise MissingExtraError(
            f"Keras with the backend {backend!r} needs {name}, which is not installed; "
            f"install it with: pip install {name}"
        ) from error


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what C++ libraries write to file descriptor 2; show it only if the block fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
