"""The only comparison of answers with labels, for device and host.

Knows numpy; knows no contract, no task and no engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

UNJUDGED = -1  # a cell of a label that is not judged


def right_cells(answers: Any, labels: Any, unjudged: int = UNJUDGED) -> Any:
    """Whether each cell equals its label or is not judged: bool of the shape of both.

    For numpy arrays and for tensors of every Keras backend.
    """
    return (answers == labels) | (labels == unjudged)


def exact(answers: Array, labels: Array) -> Array:
    """(..., n) bool: every judged cell is right; answers (..., n, S), labels (n, S)."""
    right: Array = right_cells(answers, labels).all(axis=-1)
    return right


def without_padding(labels: Array, pad: int = 0) -> Array:
    """The labels with UNJUDGED instead of the padding token, so that padding is not judged."""
    return np.where(labels == pad, np.int32(UNJUDGED), labels)
