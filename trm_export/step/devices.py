"""The device that Keras computes on: find a GPU, switch TF32 off, make results repeatable."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import keras

from trm_export.step.versions import version_of
from trm_runtime.doctor import cpu_model
from trm_runtime.errors import TRMError, UsageError

DEVICES = ("auto", "gpu", "cpu")


@dataclass(frozen=True)
class Device:
    """Where a reference ran."""

    kind: str  # gpu or cpu
    name: str
    backend: str
    versions: dict[str, str]  # of Python, Keras, the backend and numpy
    tf32: bool
    deterministic: bool

    def document(self) -> dict[str, Any]:
        """In plain JSON types."""
        return asdict(self)


@contextmanager
def computing_on(device: str, *, require_gpu: bool = False) -> Iterator[Device]:
    """Run the block on that device, in full float32 and with repeatable results.

    Args:
        device: ``gpu``, ``cpu``, or ``auto`` for a GPU where the backend finds one.
        require_gpu: refuse to run anywhere else.

    Raises:
        UsageError: an unknown device, or cpu with require_gpu.
        TRMError: a GPU is required and the backend finds none.
    """
    if device not in DEVICES:
        raise UsageError(
            f"--device must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, got {device}."
        )
    if device == "cpu" and require_gpu:
        raise UsageError("--require-gpu contradicts --device cpu; drop one of them.")
    backend = keras.backend.backend()
    name = None if device == "cpu" else _gpu(backend)
    if name is None and (require_gpu or device == "gpu"):
        raise TRMError(
            f"Keras on {backend} {version_of(backend)} finds no GPU; choose a "
            "backend with KERAS_BACKEND (tensorflow, jax or torch), or pass --device auto."
        )
    kind = "cpu" if name is None else "gpu"
    if name is not None:  # a CPU needs none of this, and in TensorFlow it cannot be undone
        _EXACT[backend]()
    packages = sorted({"keras", "numpy", backend})
    versions = {package: version_of(package) for package in packages}
    versions["python"] = platform.python_version()
    with keras.device(f"{kind}:0"):
        yield Device(kind, name or cpu_model(), backend, versions, tf32=False, deterministic=True)


def _gpu(backend: str) -> str | None:
    """The name of the first GPU that the backend finds."""
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        if not devices:
            return None
        details = tf.config.experimental.get_device_details(devices[0])
        return str(details.get("device_name", devices[0].name))
    if backend == "jax":
        _add_xla_flag("--xla_gpu_deterministic_ops=true")
        import jax

        gpus = [device for device in jax.devices() if device.platform in ("gpu", "cuda", "rocm")]
        return str(gpus[0].device_kind) if gpus else None
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def _add_xla_flag(flag: str) -> None:
    """Takes effect only before JAX opens its first device."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def _exact_tensorflow() -> None:
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()


def _exact_jax() -> None:
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")


def _exact_torch() -> None:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


_EXACT = {"tensorflow": _exact_tensorflow, "jax": _exact_jax, "torch": _exact_torch}
