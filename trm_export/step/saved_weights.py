"""The weights of a model in memory, under the names Keras saves them by.

Keras's own walk gathers them, and reads them, as it does for a `.weights.h5` file, so that classes
with a `save_own_variables` of their own work, names and values are those of the file, and so is the
digest. No file is made. The walk and its stores are not of Keras's public interface, which takes
paths only; the walk is the same from Keras 3.8 to 3.16.
"""

from __future__ import annotations

import hashlib
import io
from collections import UserDict
from typing import Any, final

import keras
import numpy as np
from keras import ops
from keras.src.saving import saving_lib

from trm_export.errors import UsageError
from trm_export.step.weights import Arrays, digest, only_numbers


@final
class _Entries(UserDict[str, Any]):
    """What one layer stores, by the names it gives: copies, because it may change them later."""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, np.array(ops.convert_to_numpy(value)))


@final
class _Gathered(saving_lib.H5IOStore):
    """A store of Keras that keeps what it is given in dicts: HDF5 takes twice the time.

    It is of the class of HDF5 stores, because Keras takes no others since 3.16.
    """

    def __init__(self) -> None:
        self.contents: dict[str, _Entries] = {}

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: object = None) -> _Entries:
        """The entries of one layer; the metadata is its own name."""
        return self.contents.setdefault(path, _Entries())


def saved_weights(model: keras.Model) -> Arrays:
    """The model's weights under the names Keras saves them by, ``inner/lm_head/vars/0`` say.

    Raises UsageError for a model that has no weights yet, CheckpointError for what Keras could
    save and we do not read.
    """
    if not model.built:
        raise UsageError(f"{model.name} has no weights yet; call it once on some data first.")
    store = _Gathered()
    saving_lib._save_state(
        model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set()
    )
    found = {
        f"{path and f'{path}/'}vars/{name}": value
        for path, group in store.contents.items()
        for name, value in group.items()
    }
    return only_numbers(found, "the model")


def load_saved(model: keras.Model, data: bytes) -> None:
    """Gives a built model the weights of a `.weights.h5` file, whose bytes these are.

    Raises what Keras raises where a part of the model finds no weights, or others.
    """
    failed: set[int] = set()
    errors: dict[int, Any] = {}
    store = saving_lib.H5IOStore(io.BytesIO(data), mode="r")
    try:
        saving_lib._load_state(
            model, weights_store=store, assets_store=None, inner_path="",
            visited_saveables=set(), failed_saveables=failed, error_msgs=errors,
        )  # fmt: skip
    finally:
        store.close()
    if failed:
        saving_lib._raise_loading_failure(errors)


def weights_sha256(model: keras.Model) -> str:
    """SHA-256 of the model's weights by structural name, dtype, shape and value.

    The same number as `inspect_keras(...).weights_sha256` of the model's `.keras` file; it does
    not depend on the backend, on compilation or on the names of layers. Random-number state is
    left out.
    """
    return digest(saved_weights(model))


@final
class SavedWeights:
    """The weights of one model, walked once for as long as none of its variables changes.

    Whoever trains the model, or assigns to a variable, finds the new weights here. Keeps a copy of
    them; its arrays are read-only.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._state: bytes | None = None
        self._arrays: Arrays = {}
        self._digest: str | None = None

    @property
    def arrays(self) -> Arrays:
        """As `saved_weights` gives them."""
        self._refresh()
        return dict(self._arrays)

    @property
    def sha256(self) -> str:
        """As `weights_sha256` gives it."""
        self._refresh()
        if self._digest is None:
            self._digest = digest(self._arrays)
        return self._digest

    def _refresh(self) -> None:
        state = _state_of(self._model)
        if state == self._state:
            return
        self._arrays, self._digest = saved_weights(self._model), None
        for array in self._arrays.values():
            array.setflags(write=False)
        self._state = state


def _state_of(model: keras.Model) -> bytes:
    """A digest of the values of all variables: many times faster than the walk."""
    total = hashlib.sha256()
    for variable in model.variables:
        array = np.asarray(ops.convert_to_numpy(variable.value))
        total.update(f"{variable.path} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.digest()
