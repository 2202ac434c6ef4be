"""Build a model of a third-party class from an inspected `.keras` file.

Only packages that the caller trusts are imported. A model of mixed precision is built in float32,
in which its weights are stored. Keras leaves random numbers in a model wherever
a file has no place for a weight, so three things are checked for any class: the file holds exactly
what Keras would save for the model, Keras saves all the weights that the model lists, and a step
uses no weight that the model does not list.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import keras
import numpy as np

from trm_export.checkpoints.keras_classes import (
    is_of,
    named_classes,
    notebook_remedy,
    without_module,
)
from trm_export.checkpoints.keras_file import KerasFile
from trm_export.checkpoints.loading import fill
from trm_export.errors import CheckpointError, TRMError, UsageError, reason_of
from trm_export.step.model_facts import ModelHints, facts_of
from trm_export.step.saved_weights import saved_weights
from trm_export.step.step_tensors import call_once

_MIXED = ("mixed_float16", "mixed_bfloat16")


def load_third_party(file: KerasFile, trusted: Sequence[str], hints: ModelHints) -> keras.Model:
    """The model of the file, built by one call and filled with exactly its weights.

    Raises what `trm_export.checkpoints.opening.open_model` raises.
    """
    with _float32():
        return _filled(file, trusted, hints)


def _filled(file: KerasFile, trusted: Sequence[str], hints: ModelHints) -> keras.Model:
    model = _built(file, trusted)
    facts = facts_of(model, hints)
    call_once(model, facts, rows=1)
    with _ReadVariables() as scope:
        call_once(model, facts, rows=1)
    problems = [*_unsaved(model), *_unlisted(model, scope.variables)]
    if problems:
        raise CheckpointError(
            f"{file.info.path}: Keras does not save every weight of this model, so some would "
            "keep random values; keep layers in attributes or flat lists and save again:", problems
        )  # fmt: skip
    fill(model, file)
    return model


def _built(file: KerasFile, trusted: Sequence[str]) -> keras.Model:
    classes = _classes(file, trusted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Keras warns about is checked here
            model = keras.saving.deserialize_keras_object(
                _unmixed(file.model_config), custom_objects=classes, safe_mode=True
            )
    except TRMError:
        raise
    except Exception as error:  # a third-party class may raise anything
        text = f"{type(error).__name__}: {reason_of(error)}"
        raise CheckpointError(f"{file.info.path}: cannot be built: {text}.") from error
    if not isinstance(model, keras.Model):
        kind = type(model).__name__
        raise CheckpointError(f"{file.info.path}: expected a keras.Model, got a {kind}.")
    return model


def _classes(file: KerasFile, trusted: Sequence[str]) -> dict[str, Any]:
    """The trusted classes that the file names, by class name and by registered name."""
    for package in trusted:
        _imported(package)
    found: dict[str, Any] = {}
    for _, named in named_classes(file.model_config, ""):
        module, name = named.get("module"), named["class_name"]
        if without_module(named):
            known = _found_by_name(named, trusted, file.info.path)
            found |= {str(name): known, str(named["registered_name"]): known}
            continue
        if not isinstance(module, str) or not is_of(module, trusted):
            continue
        known = getattr(_imported(module), str(name), None)
        if known is not None:
            found[name] = known
            found[str(named.get("registered_name") or name)] = known
    return found


def _found_by_name(named: dict[str, Any], trusted: Sequence[str], path: str) -> Any:
    """The class of a trusted package that is registered under a name, or the only one so called.

    Raises CheckpointError for none or several.
    """
    name, registered = named["class_name"], named["registered_name"]
    known = keras.saving.get_registered_object(registered)
    if known is not None and is_of(getattr(known, "__module__", ""), trusted):
        return known
    modules = [module for key, module in sys.modules.items() if is_of(key, trusted)]
    called = {vars(module).get(name) for module in modules if hasattr(module, "__dict__")}
    own = [x for x in called if isinstance(x, type) and is_of(x.__module__, trusted)]
    if len(own) != 1:
        modules_text = ", ".join(trusted)
        reason = f"{modules_text} have {len(own)} classes of that name"
        raise CheckpointError(f"{path}: {notebook_remedy(name)} ({reason}).")
    return own[0]


def _unmixed(value: Any) -> Any:
    """A configuration with float32 instead of mixed precision, whose weights are float32 too."""
    if isinstance(value, dict):
        return {key: _unmixed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unmixed(item) for item in value]
    return "float32" if value in _MIXED else value


@contextmanager
def _float32() -> Iterator[None]:
    """Layers without a policy of their own compute in float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # importing runs third-party code
        raise UsageError(
            f"--trust-module: {module} cannot be imported ({type(error).__name__}: "
            f"{reason_of(error)}); install its package, or add its folder to PYTHONPATH."
        ) from error


class _ReadVariables(keras.StatelessScope):
    """Records every Keras variable whose value is read."""

    def __init__(self) -> None:
        super().__init__(initialize_variables=False)
        self.variables: dict[int, keras.Variable] = {}

    def get_current_value(self, variable: keras.Variable) -> Any:
        self.variables[id(variable)] = variable
        return super().get_current_value(variable)


def _unsaved(model: keras.Model) -> Iterator[str]:
    """Weights that the model lists and Keras does not save, compared by their values."""
    saved = Counter(_fingerprint(array) for array in saved_weights(model).values())
    for variable in model.weights:
        key = _fingerprint(np.array(keras.ops.convert_to_numpy(variable.value)))
        if saved[key] == 0:
            yield f"{variable.path} {variable.dtype} {list(variable.shape)}: not saved"
        saved[key] -= 1


def _unlisted(model: keras.Model, used: Mapping[int, keras.Variable]) -> Iterator[str]:
    listed = {id(variable) for variable in model.variables}
    for key, variable in used.items():
        if key not in listed:
            shape = list(variable.shape)
            yield f"{variable.path} {variable.dtype} {shape}: used, but not a part of the model"


def _fingerprint(array: np.ndarray[Any, Any]) -> tuple[tuple[int, ...], str]:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
