"""Models without weights: their shapes are known, and nothing is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state

_PENDING = "uninitialized_variables"  # what Keras fills when any later scope ends


@contextmanager
def without_weights() -> Iterator[None]:
    """Models built inside have weights with shapes alone, and are good for nothing else.

    Keras remembers such weights and would allocate them when the next scope ends, those too that
    were only to be counted; here they are forgotten.
    """
    pending: list[Any] = global_state.get_global_attribute(_PENDING, [], set_to_default=True)
    known = len(pending)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        del pending[known:]
