"""Load a `.keras` file strictly: the model has exactly the weights of the file.

Keras itself only warns when a part of the model is missing from a file, and keeps new random
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
from trm_export.errors import CheckpointError, TRMError, reason_of
from trm_export.model import TRM
from trm_export.model.weightless import to_be_filled, without_weights
from trm_export.step.saved_weights import SavedWeights, load_saved, saved_weights
from trm_export.step.weights import TensorInfo, describe

__all__ = ["KerasFileInfo", "fill", "inspect_keras", "load_model"]

_SLACK = 1 << 20  # weights that a model may have beyond twice those in its file


def load_model(path: str | os.PathLike[str]) -> TRM:
    """The TRM saved at `path`, uncompiled, on the running Keras backend.

    Raises CheckpointError, listing every reason, for a file that `open_keras` refuses, whose
    configuration cannot be built, or whose weights do not fit the model exactly.
    """
    file = open_keras(path)
    model = build(file)
    fill(model, file)
    return model


def fill(model: keras.Model, file: KerasFile) -> SavedWeights:
    """Gives a built model exactly the weights of the file; CheckpointError where they do not fit.

    The file is compared with what Keras would save for the model, so this works for any class.
    Returns the weights as they were read back: another walk of the model would find the same.
    """
    path = file.info.path
    wanted, found = describe(saved_weights(model)), file.info.tensors
    if _quantized(wanted, found):
        raise CheckpointError(
            f"{path}: the model was quantized by Keras (its method `quantize`); save the float "
            "model, and export it with --precision int8 for int8 weights."
        )
    problems = list(_differences(wanted, found))
    if problems:
        saved_by = f"saved by Keras {file.info.keras_version}, this is {keras.__version__}"
        raise CheckpointError(f"{path}: the weights do not fit the model ({saved_by}):", problems)
    _load(model, file)
    known = SavedWeights(model)
    if known.sha256 != file.info.weights_sha256:
        raise CheckpointError(
            f"{path}: the weights that Keras loaded differ from those in the file."
        )
    return known


def build(file: KerasFile) -> TRM:
    """A new `TRM`, built first without weights, so that a small file cannot allocate a huge model.

    Only our own constructor is called: Keras's general deserializer imports what a file names.
    """
    try:
        with without_weights():
            needed = sum(map(_size, TRM.from_config(file.config).weights))
        if needed > 2 * file.info.parameters + _SLACK:
            stored = f"{file.info.parameters:,} are in the file"
            raise ValueError(f"the configuration needs {needed:,} weights, {stored}")
        with to_be_filled():
            return TRM.from_config(file.config)
    except (TRMError, MemoryError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file.info.path}: cannot be built: {reason_of(error)}.") from error


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
            raise CheckpointError(
                f"{file.info.path}: Keras cannot load the weights: {reason_of(error)}."
            ) from error


def _quantized(wanted: Sequence[TensorInfo], found: Sequence[TensorInfo]) -> bool:
    """Whether the file has integers where the model has floats."""
    floats = {tensor.path for tensor in wanted if tensor.dtype.startswith("float")}
    return any(tensor.path in floats and "int" in tensor.dtype for tensor in found)


def _differences(wanted: Sequence[TensorInfo], found: Sequence[TensorInfo]) -> Iterator[str]:
    expected = {tensor.path: tensor for tensor in wanted}
    present = {tensor.path: tensor for tensor in found}
    for path in sorted({*expected, *present}):
        if path not in present:
            yield f"{expected[path]}: missing from the file, so it would keep random values"
        elif path not in expected:
            yield f"{present[path]}: the model has no such weight"
        elif expected[path] != present[path]:
            yield f"{present[path]}: expected {_kind(expected[path])}"


def _kind(tensor: TensorInfo) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
