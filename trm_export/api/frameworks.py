"""Import Keras without its log output; every function that needs Keras does it here."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trm_export.errors import BackendError, MissingExtraError, reason_of
from trm_runtime.drivers.quiet import memory_file, quiet_tensorflow
from trm_runtime.lean_import import OF_TENSORFLOW, lean_import

DEBUG = "TRM_EXPORT_DEBUG"  # an environment variable: show tracebacks and the engines' logs
_TENSORFLOW = "tensorflow"
_BACKENDS = {_TENSORFLOW, "jax", "torch", "numpy", "openvino"}  # of Keras


def load_keras(*, any_backend: bool = False) -> None:
    """Import Keras, and silence TensorFlow's log unless the environment asks for debugging.

    The backend is TensorFlow; with `any_backend` it is that of KERAS_BACKEND. If the program has
    imported Keras already, only its backend is checked. Raises BackendError when Keras runs on
    another backend than needed, on an unknown one, or with settings that it refuses,
    MissingExtraError when the backend is not installed, or cannot be loaded.
    """
    loaded = sys.modules.get("keras")
    if loaded is not None:
        _require(loaded.backend.backend(), any_backend, "Keras already runs on")
        return
    backend = os.environ.setdefault("KERAS_BACKEND", _TENSORFLOW)
    _require(backend, any_backend, "KERAS_BACKEND is")
    if os.environ.get(DEBUG):
        _import(backend)
        return
    quiet_tensorflow()  # which Keras on another backend loads later
    with _stderr_held_back():
        _import(backend)
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)


def _require(backend: str, any_backend: bool, found: str) -> None:
    if backend != _TENSORFLOW and not any_backend:
        raise BackendError(
            f"This needs the TensorFlow backend, but {found} {backend!r}; "
            f"start again with KERAS_BACKEND={_TENSORFLOW}."
        )


def _import(backend: str) -> None:
    try:
        with lean_import("keras", (name for name in OF_TENSORFLOW if name != backend)):
            import keras  # noqa: F401
    except ModuleNotFoundError as error:
        name = error.name or backend
        raise MissingExtraError(
            f"Keras with the backend {backend!r} needs {name}, which is not installed; "
            f"install it with `pip install {name}`."
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        file = _settings(error)
        if file is not None:
            raise BackendError(
                f"Keras cannot be imported: {reason_of(error)}; its settings are in {file}."
            ) from error
        if backend not in _BACKENDS:
            raise BackendError(
                f"KERAS_BACKEND is {backend!r}, which Keras does not accept: {reason_of(error)}."
            ) from error
        raise MissingExtraError(
            f"Keras with the backend {backend!r} cannot be imported: {reason_of(error)}."
        ) from error


def _settings(error: BaseException) -> Path | None:
    """The file of Keras's settings, if the module that reads them raised the error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if frame.f_globals.get("__name__") != "keras.src.backend.config":
        return None
    return Path(frame.f_globals.get("_config_path", "keras.json"))


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Hold back what C++ libraries write to file descriptor 2; show it only if the block fails."""
    with suppress(AttributeError, ValueError, OSError):  # a service has none, or a closed one
        sys.stderr.flush()
    try:
        held, terminal = memory_file(), os.dup(2)
    except OSError:  # no standard error, as of a service
        yield
        return
    with held:
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
