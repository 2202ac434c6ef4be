"""Build models without weights, to read shapes, or without random ones, to fill them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras.src.backend.common import global_state

_ZEROS: ContextVar[bool] = ContextVar("zeros", default=False)
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


@contextmanager
def to_be_filled() -> Iterator[None]:
    """A `TRM` built inside begins with zeros, because the caller gives it all its weights.

    Drawing random ones takes as long as loading a checkpoint; JAX compiles a program for each of
    their shapes first.
    """
    before = _ZEROS.set(True)
    try:
        yield
    finally:
        _ZEROS.reset(before)


def unless_filled(initializer: keras.initializers.Initializer) -> keras.initializers.Initializer:
    """The initializer, or zeros within `to_be_filled`."""
    return keras.initializers.Zeros() if _ZEROS.get() else initializer
