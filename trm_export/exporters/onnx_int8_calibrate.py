"""The scales of int8 in ONNX that real steps show, and the document of them.

An activation without heavy tails, as a norm leaves it, has one scale for all rows: looking for one
in every row takes longer than it is worth there. Where channels differ in size, see `smoothing`,
they are divided by what is found here. A rollout of a few puzzles over all steps shows it: an
untrained model may carry more at the last ones. Of a big model three steps have to do.

Only for the `TRM`: an untrained model of another family took another way in a row with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from trm_export.exporters.calibration import (
    Grids,
    grids_from_json,
    grids_of,
    grids_to_json,
    reading_recipe,
)
from trm_export.exporters.format import Job
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.onnx_observe import ActivationProbe, observe
from trm_export.exporters.smoothing import channel_scales, smoothed_layers
from trm_export.step.step_model import AnyModel
from trm_export.version import TOOL
from trm_runtime.parity.few_steps import FEW
from trm_runtime.parity.recorder import model_tokens

Array = np.ndarray[Any, Any]

_MARGIN = 1.0  # a range is what was observed: wider by a tenth, the error is a fifth larger
_NOISE = 0.011
"""Most rounding error of one scale, as a share of a tensor's rms. With 0.0142 in one of the four
matrices of sudoku9, one of three recordings of 16 to 2,000 puzzles failed by a row."""
_PUZZLES = 4
_STEPS = 64  # at most
_PASSES = 4  # of those that multiply by a matrix


@dataclass(frozen=True)
class Int8Scales:
    """What a file of int8 has from real steps, and where that comes from."""

    engine: str  # that computed the activations
    puzzles: int
    steps: int
    grids: Grids  # of activations that have one scale for all rows
    channels: Mapping[str, Array]  # ``down`` -> (K,) float32 that its channels are divided by

    def to_json(self) -> str:
        """Indented JSON text, ending in a newline."""
        facts = {
            "tool": TOOL,
            "engine": self.engine,
            "puzzles": self.puzzles,
            "steps": self.steps,
            "grids": grids_to_json(self.grids),
            "channels": [
                {"matrix": name, "divided_by": [float(str(one)) for one in scale]}
                for name, scale in self.channels.items()
            ],
        }
        return json.dumps(facts, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, known: Mapping[str, Array]) -> Int8Scales:
        """Reads the text of `to_json` for a model with these weights; RecipeError for any other."""
        with reading_recipe():
            facts = json.loads(text)
            channels = {
                one["matrix"]: np.array(one["divided_by"], np.float32) for one in facts["channels"]
            }
            for name, scale in channels.items():
                if name not in known:
                    raise ValueError(f"the model has no matrix {name}")
                good = (scale > 0) & (scale < np.inf)
                if scale.shape != known[name].shape[:1] or not good.all():
                    raise ValueError(f"{name}: channels are not divided by such numbers")
            grids = grids_from_json(facts["grids"])
            return cls(facts["engine"], facts["puzzles"], facts["steps"], grids, channels)


def has_scales(model: AnyModel) -> bool:
    """Whether int8 files of a model take anything from real steps."""
    return bool(smoothed_layers(model))


def int8_scales(job: Job) -> Int8Scales:
    """The scales of a job's file; from its recipe if it has one, else measured once a model."""
    if not has_scales(job.model):
        return Int8Scales("", 0, 0, {}, {})
    if job.recipe is not None:
        return Int8Scales.from_json(job.recipe, weights(job.model))
    return job.shared.once(("onnx", "int8 scales"), lambda: _measured(job))


def _measured(job: Job) -> Int8Scales:
    probe, smooth = ActivationProbe(job, _PASSES), smoothed_layers(job.model)
    tokens = model_tokens(probe.contract, job.puzzles)
    inputs = {name: array[:_PUZZLES] for name, array in tokens.items()}
    steps = min(probe.contract.max_steps, FEW if job.shared.big else _STEPS)
    found = observe(probe.rollout(inputs, steps), margin=_MARGIN)
    return Int8Scales(
        engine=f"onnxruntime {onnxruntime.__version__}",
        puzzles=len(inputs["inputs"]),
        steps=steps,
        grids=grids_of({k: v for k, v in found.ranges.items() if k not in smooth}, _NOISE),
        channels={name: channel_scales(found.channels[name]) for name in smooth},
    )
