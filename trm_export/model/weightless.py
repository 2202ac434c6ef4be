"""Build models without weights, to read shapes without allocating memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state

_PENDING = "uninitialized_variables"  # what Keras fills when any later scope ends


@contextmanager
def without_weights() -> Iterator[None]:
    """Models built inside have weights with shapes but no values, and cannot be called.

    Keras keeps a list of such weights and would allocate them when the next scope ends; they are
    removed from that list here.
    """
    pending: list[Any] = global_state.get_global_attribute(_PENDING, [], set_to_default=True)
    known = len(pending)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        del pending[known:]
