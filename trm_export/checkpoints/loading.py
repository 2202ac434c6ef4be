"""Load a `.keras` file strictly: every weight of the model, and none besides, comes from the file.

Keras itself only warns when a part of the model is missing from a file, and keeps fresh random
weights there. Here the file is inspected first (`keras_file`), its weights are compared by name,
dtype and shape with what Keras would save for the model, and the loaded values are compared with
the file's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence

import keras

from trm_export.checkpoints.keras_file import KerasFile, KerasFileInfo, inspect_keras, open_keras
from trm_export.errors import CheckpointError, TRMError
from trm_export.model import TRM
from trm_export.model.weightless import without_weights
from trm_export.step.saved_weights import load_saved, saved_weights, weights_sha256
from trm_export.step.weights import TensorInfo, describe

__all__ = ["KerasFileInfo", "fill", "inspect_keras", "load_model"]

_SLACK = 1 << 20  # weights a model may want beyond twice those in its file before it is built


def load_model(path: str | os.PathLike[str]) -> TRM:
    """The TRM saved at `path`, uncompiled, on the running Keras backend.

    Raises CheckpointError, listing every reason, for a file that `open_keras` refuses, whose
    configuration cannot be built, or whose weights do not fit the model exactly.
    """
    file = open_keras(path)
    model = build(file)
    fill(model, file)
    return model


def fill(model: keras.Model, file: KerasFile) -> None:
    """Gives a built model exactly the weights of the file; CheckpointError where they do not fit.

    What counts is what Keras would save for the model, so that it works for any class.
    """
    path = file.info.path
    problems = list(_differences(describe(saved_weights(model)), file.info.tensors))
    if problems:
        saved_by = f"saved by Keras {file.info.keras_version}, this is {keras.__version__}"
        raise CheckpointError(f"{path}: the weights do not fit the model ({saved_by}):", problems)
    _load(model, file)
    if weights_sha256(model) != file.info.weights_sha256:
        raise CheckpointError(f"{path}: Keras did not load the weights as they are in the file.")


def build(file: KerasFile) -> TRM:
    """Our model with fresh weights; first without any, lest a small file ask for a huge model.

    Only our own constructor is called: Keras's general deserializer imports what a file names.
    """
    try:
        with without_weights():
            wanted = sum(map(_size, TRM.from_config(file.config).weights))
        if wanted > 2 * file.info.parameters + _SLACK:
            found = f"{file.info.parameters:,} are in the file"
            raise ValueError(f"the configuration needs {wanted:,} weights, {found}")
        return TRM.from_config(file.config)
    except (TRMError, MemoryError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file.info.path}: cannot be built: {error}") from error


def _size(variable: keras.Variable) -> int:
    size = 1
    for axis in variable.shape:
        size *= int(axis)
    return size


def _load(model: keras.Model, file: KerasFile) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            load_saved(model, file.weights)
        except (ValueError, KeyError, OSError, UserWarning) as error:
            summary = f"{file.info.path}: Keras refuses its weights: {error}"
            raise CheckpointError(summary) from error


def _differences(wanted: Sequence[TensorInfo], found: Sequence[TensorInfo]) -> Iterator[str]:
    expected = {tensor.path: tensor for tensor in wanted}
    present = {tensor.path: tensor for tensor in found}
    for path in sorted({*expected, *present}):
        if path not in present:
            yield f"{expected[path]}: missing, would stay random"
        elif path not in expected:
            yield f"{present[path]}: the model has no such weight"
        elif expected[path] != present[path]:
            yield f"{present[path]}: expected {_kind(expected[path])}"


def _kind(tensor: TensorInfo) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
