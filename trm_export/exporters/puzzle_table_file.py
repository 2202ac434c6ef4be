"""The external puzzle table: the puzzle embeddings of a model as a file beside the graph."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import keras
import numpy as np
from keras import ops

from trm_export.errors import UsageError
from trm_export.model import is_own


def table_of(model: keras.Model) -> Any:
    """The variable that holds the puzzle embeddings; UsageError for a model without."""
    if not is_own(model):
        raise UsageError(
            f"An external puzzle table needs the step of this package's TRM, and "
            f"{type(model).__name__} has its own; drop --puzzle-table external."
        )
    layer = model.inner.puzzle_emb
    if layer is None:
        raise UsageError("The model has no puzzle embeddings; drop --puzzle-table external.")
    return layer.embeddings


def table_bytes(model: keras.Model) -> bytes:
    """The ``.npy`` file of the table, (identifiers, width) float32: the same bytes each time."""
    table = np.asarray(ops.convert_to_numpy(table_of(model)), "<f4")
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(table), allow_pickle=False)
    return buffer.getvalue()


def table_sha256(model: keras.Model) -> str:
    """The SHA-256 of that file."""
    return hashlib.sha256(table_bytes(model)).hexdigest()
