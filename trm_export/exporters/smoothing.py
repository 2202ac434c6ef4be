"""Channels of equal size where a SwiGLU enters its ``down`` matrix, as in SmoothQuant.

Rows are rounded to 8 bits there, and a few large channels leave few levels to the others (arXiv
2211.10438). In ``(silu(x @ gate) * (x @ up)) @ down`` a channel of ``up`` may be divided by any
number and its row of ``down`` be multiplied by it: nothing else changes, and no operator is added.
The size of a channel is estimated from the weights, because ``x`` comes from a norm; so a file
needs no document that says what it was calibrated on.

Distance of the forced cosine from 1 on sudoku9, 400 puzzles, first step: median 3.2e-4 instead of
5.3e-4, worst 6.7e-4 instead of 2.5e-3 (`python -m benchmarks.compare_smoothing`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from trm_export.exporters.kept_layers import weights
from trm_export.model import TRM
from trm_export.step.step_model import AnyModel, adapt

Array = np.ndarray[Any, Any]

_STRENGTH = 0.85  # of 0.6 to 0.95, which differ little; 1 makes the channels equal
_LEAST = 1e-6  # of a size


def smoothed_weights(model: AnyModel, names: Collection[str]) -> dict[str, Array]:
    """The matrices of a model that change, by short name; none of a model that is not our own.

    names: the matrices that are to be rounded to dynamic int8 in ONNX.
    """
    step_model = adapt(model)
    return smoothed(weights(step_model), names) if type(step_model.keras) is TRM else {}


def smoothed(saved: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
    """The matrices of a `TRM` that change, by name.

    Args:
        saved: ``.../gate_up`` (width, 2 channels), gates first, and ``.../down`` (channels,
            width), with others.
        names: the matrices that are to be rounded. Where ``down`` is, ``gate_up`` changes with it,
            though it may stay in float.
    """
    changed: dict[str, Array] = {}
    for down in names:
        layer, _, kind = down.rpartition("/")
        name = f"{layer}/gate_up"
        if kind == "down" and name in saved:
            gate, up = np.split(saved[name].astype(np.float64), 2, axis=1)
            scale = _scales(gate, up, saved[down].astype(np.float64))
            changed[name] = np.hstack([gate, up / scale]).astype(np.float32)
            changed[down] = (saved[down] * scale[:, None]).astype(np.float32)
    return changed


def _scales(gate: Array, up: Array, down: Array) -> Array:
    """(channels,) float64: what each channel is divided by, 1 in the geometric mean."""
    size = np.maximum(np.linalg.norm(gate, axis=0) * np.linalg.norm(up, axis=0), _LEAST)
    read = np.maximum(np.linalg.norm(down, axis=1), _LEAST)
    scale = size**_STRENGTH / read ** (1 - _STRENGTH)
    result: Array = scale / np.exp(np.mean(np.log(scale)))
    return result
