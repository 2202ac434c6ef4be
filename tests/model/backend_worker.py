"""Runs saved models on the backend of ``KERAS_BACKEND``: ``backend_worker.py FOLDER RESULT.npz``.

FOLDER holds ``<name>.keras`` beside ``<name>.npz``, whose arrays are named ``carry/...`` and
``batch/...``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.api.frameworks import load_keras
from trm_runtime.lean_import import own_process

own_process()
load_keras(any_backend=True)
import keras  # noqa: E402  (loaded as a command loads it, which takes half the time)
from keras import ops  # noqa: E402

import trm_export.model  # noqa: E402, F401  registers the classes


def compiled(model: keras.Model, **options: Any) -> Callable[..., Any]:
    """The model's step; on JAX compiled as one, which is faster than op by op."""

    def step(carry: Any, batch: Any) -> Any:
        return model(carry, batch, training=False, **options)

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(step)
    return step


def main(folder: Path, result: Path) -> None:
    found = {"backend": np.array(keras.backend.backend())}
    for path in sorted(folder.glob("*.keras")):
        model = keras.models.load_model(path)
        given: dict[str, dict[str, object]] = {"carry": {}, "batch": {}}
        for name, value in np.load(path.with_suffix(".npz")).items():
            kind, key = name.split("/")
            given[kind][key] = ops.convert_to_tensor(value)
        new, outputs = compiled(model)(given["carry"], given["batch"])
        for name, value in {**new, **outputs}.items():
            found[f"{path.stem}/{name}"] = ops.convert_to_numpy(value)
        if path.stem == "mixer":
            _, rolled = compiled(model, rolled=True)(given["carry"], given["batch"])
            found[f"{path.stem}/rolled_logits"] = ops.convert_to_numpy(rolled["logits"])
    np.savez(result, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
