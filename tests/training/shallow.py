"""The model of the 4x4 recipe with two passes a step instead of eight.

For runs whose answers do not matter: TensorFlow traces each pass of a training step, which takes
most of their time.
"""

from __future__ import annotations

from typing import Any

from trm_export.model.presets import PRESETS

RECIPE = "sudoku4"
SHALLOW: dict[str, Any] = {**PRESETS[RECIPE], "h_cycles": 1, "l_cycles": 1}
