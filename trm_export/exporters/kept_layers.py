"""The layers of a model that can stay in float, and the names and patterns that select them.

A layer is a stored matrix. It has a short name, such as ``H_level/block_1/ffn/down``, and the path
that Keras saves it under, ``inner/H_level/blocks/transformer_layer_1/ffn/down/vars/0``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from trm_export.errors import UsageError
from trm_export.step.step_model import AnyModel, adapt

Array = np.ndarray[Any, Any]


def layer_name(path: str) -> str:
    """The short name of ``inner/L_level/blocks/transformer_layer_1/ffn/down/vars/0``, say."""
    path = re.sub(r"/vars/0$", "", path.removeprefix("inner/"))
    return re.sub(r"blocks/transformer_layer", "block", path)


def weights(model: AnyModel) -> dict[str, Array]:
    """Every weight of the model by its short name, as Keras has it."""
    return {layer_name(path): array for path, array in adapt(model).weights.arrays.items()}


def layers(model: AnyModel) -> dict[str, Array]:
    """The matrices among them, in two or more dimensions; start states are none."""
    found = _layers(adapt(model).weights.arrays)
    return {layer_name(path): array for path, array in found.items()}


def _layers(saved: Mapping[str, Array]) -> dict[str, Array]:
    return {
        path: array
        for path, array in saved.items()
        if array.ndim > 1 and not layer_name(path).startswith("vars/")
    }


def chosen(model: AnyModel, patterns: Sequence[str]) -> tuple[str, ...]:
    """The short names of the layers that the patterns match, in the model's order.

    Args:
        model: one that follows the protocol.
        patterns: names or shell-style patterns, of short names or of complete paths.

    Raises UsageError, listing the layers of the model, for a pattern that matches none.
    """
    if not patterns:
        return ()
    known = {layer_name(path): path for path in _layers(adapt(model).weights.arrays)}
    matches = {pattern: set(_matching(pattern, known)) for pattern in patterns}
    unmatched = [pattern for pattern, names in matches.items() if not names]
    if unmatched:
        raise UsageError(
            f"No layer of this model matches {' or '.join(unmatched)}; its layers are: "
            f"{', '.join(known)}."
        )
    names: Collection[str] = set().union(*matches.values())
    return tuple(name for name in known if name in names)


def _matching(pattern: str, known: Mapping[str, str]) -> Iterator[str]:
    for name, path in known.items():
        if fnmatchcase(name, pattern) or fnmatchcase(path, pattern):
            yield name
