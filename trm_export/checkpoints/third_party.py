"""Bring a model of somebody else's class to life from an inspected `.keras` file.

Only packages that the caller trusts are imported. Keras leaves random numbers in a model wherever
a file has no place for a weight, so three questions are asked of any class: does the file hold
exactly what Keras would save for the model, would Keras save all the weights that the model knows
of, and does a step use any that it does not know of?
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np

from trm_export.checkpoints.keras_classes import is_of, named_classes
from trm_export.checkpoints.keras_file import KerasFile
from trm_export.checkpoints.loading import fill
from trm_export.errors import CheckpointError, TRMError, UsageError
from trm_export.step.model_facts import ModelHints, facts_of
from trm_export.step.saved_weights import saved_weights
from trm_export.step.step_tensors import call_once


def load_third_party(file: KerasFile, trusted: Sequence[str], asked: ModelHints) -> keras.Model:
    """The model of the file, built by one call and filled with exactly its weights.

    Raises what `trm_export.checkpoints.opening.open_model` raises.
    """
    model = _brought_to_life(file, trusted)
    facts = facts_of(model, asked)
    call_once(model, facts, rows=1)
    with _Watch() as watch:
        call_once(model, facts, rows=1)
    problems = [*_unsaved(model), *_unknown(model, watch.seen)]
    if problems:
        raise CheckpointError(
            f"{file.info.path}: Keras does not save every weight of this model, so that some would "
            "stay random; keep layers in attributes or flat lists, and save it again:", problems
        )  # fmt: skip
    fill(model, file)
    return model


def _brought_to_life(file: KerasFile, trusted: Sequence[str]) -> keras.Model:
    classes = _classes(file, trusted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Keras suspects is looked into here
            model = keras.saving.deserialize_keras_object(
                file.whole, custom_objects=classes, safe_mode=True
            )
    except TRMError:
        raise
    except Exception as error:  # whatever somebody else's code may raise
        text = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{file.info.path}: cannot be built: {text}") from error
    if not isinstance(model, keras.Model):
        kind = type(model).__name__
        raise CheckpointError(f"{file.info.path}: expected a keras.Model, got a {kind}")
    return model


def _classes(file: KerasFile, trusted: Sequence[str]) -> dict[str, Any]:
    """The trusted classes that the file names, by every name it may call them."""
    for package in trusted:
        _imported(package)
    found: dict[str, Any] = {}
    for _, named in named_classes(file.whole, ""):
        module, name = named.get("module"), named["class_name"]
        if not isinstance(module, str) or not is_of(module, trusted):
            continue
        known = getattr(_imported(module), str(name), None)
        if known is not None:
            found[name] = known
            found[str(named.get("registered_name") or name)] = known
    return found


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # importing runs somebody else's code
        raise UsageError(
            f"--trust-module: {module} cannot be imported ({type(error).__name__}: {error}); "
            "install its package here, or set PYTHONPATH to the folder that holds it."
        ) from error


class _Watch(keras.StatelessScope):
    """Sees every Keras variable whose value is asked for."""

    def __init__(self) -> None:
        super().__init__(initialize_variables=False)
        self.seen: dict[int, keras.Variable] = {}

    def get_current_value(self, variable: keras.Variable) -> Any:
        self.seen[id(variable)] = variable
        return super().get_current_value(variable)


def _unsaved(model: keras.Model) -> Iterator[str]:
    """Weights that the model knows of and Keras does not save, by their values."""
    saved = Counter(_print(array) for array in saved_weights(model).values())
    for variable in model.weights:
        key = _print(np.array(keras.ops.convert_to_numpy(variable.value)))
        if saved[key] == 0:
            yield f"{variable.path} {variable.dtype} {list(variable.shape)}: not saved"
        saved[key] -= 1


def _unknown(model: keras.Model, seen: Mapping[int, keras.Variable]) -> Iterator[str]:
    known = {id(variable) for variable in model.variables}
    for key, variable in seen.items():
        if key not in known:
            shape = list(variable.shape)
            yield f"{variable.path} {variable.dtype} {shape}: used, but no part of the model"


def _print(array: np.ndarray[Any, Any]) -> tuple[tuple[int, ...], str]:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
