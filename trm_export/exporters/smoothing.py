"""Channels of similar size where a SwiGLU enters its ``down`` matrix, as in SmoothQuant.

Rows are rounded to 8 bits there, and a few large channels leave few levels to the others (arXiv
2211.10438). In ``(silu(x @ gate) * (x @ up)) @ down`` a channel of ``up`` may be divided by any
number and its row of ``down`` be multiplied by it: nothing else changes, and no operator is added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from trm_export.exporters.kept_layers import weights
from trm_export.model import is_own
from trm_export.step.step_model import AnyModel, adapt

Array = np.ndarray[Any, Any]

_STRENGTH = 0.4  # of 0.3 to 0.5, which differ little; 1 makes the channels equal
_LEAST = 1e-3  # of the largest channel: what is hardly seen in a few steps may be larger in others
_DIGITS = 4  # after the point, for a shorter document


def smoothed_layers(model: AnyModel) -> list[str]:
    """The ``down`` matrices, by short name, of a model of our own; none of any other."""
    step_model = adapt(model)
    if not is_own(step_model.keras):
        return []
    saved = weights(step_model)
    return [name for name in saved if name.endswith("/down") and _before(name) in saved]


def channel_scales(largest: Array) -> Array:
    """What each channel is divided by, (channels,) float32, 1 in the geometric mean.

    Args:
        largest: (channels,) the largest absolute value that each has in real steps.
    """
    sizes = np.nan_to_num(largest.astype(np.float64), posinf=0.0)
    sizes = np.maximum(sizes, max(_LEAST * sizes.max(), np.finfo(np.float32).tiny))
    scale = sizes**_STRENGTH
    found = np.round(scale / np.exp(np.mean(np.log(scale))), _DIGITS)
    result: Array = np.maximum(found, 10.0**-_DIGITS).astype(np.float32)
    return result


def smoothed(
    saved: Mapping[str, Array], channels: Mapping[str, Array], names: Collection[str]
) -> dict[str, Array]:
    """The matrices that change, by name.

    Args:
        saved: ``.../gate_up`` (width, 2 channels), gates first, and ``.../down`` (channels,
            width), with others.
        channels: ``down`` -> what its channels are divided by.
        names: the matrices that are to be rounded. Where ``down`` is, ``gate_up`` changes with it,
            though it may stay in float.
    """
    changed: dict[str, Array] = {}
    for down, scale in channels.items():
        if down in names:
            gate, up = np.split(saved[_before(down)], 2, axis=1)
            changed[_before(down)] = np.hstack([gate, up / scale])
            changed[down] = saved[down] * scale[:, None]
    return changed


def _before(down: str) -> str:
    """The matrix whose product enters this one."""
    return f"{down.removesuffix('down')}gate_up"
