"""Codes of four bits chosen by what enters a matrix in real rollouts, and the document of them.

The inputs of a matrix are rounded one after the other, those that carry most first, and the error
of each is made up for by the codes of those that follow (GPTQ, arXiv 2210.17323). Factors and
scales stay those of `onnx_int4`. On sudoku9 the distance of the forced cosine from 1 falls from
0.0074 with the nearest codes to 0.0051 for z_L, and from 0.0062 to 0.0035 for z_H (mean of six
steps of 16 puzzles).

A file is its model if its codes are the nearest ones moved as the document says, at most
`MOST_MOVED` each.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from trm_export.exporters.calibration import (
    Grids,
    grids_from_json,
    grids_of,
    grids_to_json,
    reading_recipe,
    real_samples,
    rows_per_step,
    some_steps,
)
from trm_export.exporters.format import Job
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.onnx_int4 import MOST_MOVED, FourBits, four_bits, within_codes
from trm_export.exporters.onnx_observe import ActivationProbe, observed
from trm_export.version import TOOL

Array = np.ndarray[Any, Any]

DAMPING = 0.01  # of the mean of the diagonal, as in the paper


@dataclasses.dataclass(frozen=True)
class MovedCodes:
    """By how much the codes of each matrix are not the nearest ones, and where that comes from."""

    engine: str  # that computed the activations
    samples_per_step: tuple[int, ...]
    moved: Mapping[str, Array]  # matrix -> (K, N) int8
    grids: Grids  # of activations that have one scale for all rows; of older ones none

    def to_json(self) -> str:
        """Indented JSON text, ending in a newline; the codes packed by zlib, in base64."""
        facts = {
            "tool": TOOL,
            "engine": self.engine,
            "samples_per_step": self.samples_per_step,
            "moved_codes": [
                {"matrix": name, "shape": moved.shape, "int8": _packed(moved)}
                for name, moved in self.moved.items()
            ],
            "grids": grids_to_json(self.grids),
        }
        return json.dumps(facts, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, known: Mapping[str, Array]) -> MovedCodes:
        """Reads the text of `to_json` for a model with these weights; RecipeError for any other."""
        most = max(array.size for array in known.values())
        with reading_recipe():
            facts = json.loads(text)
            moved = {one["matrix"]: _unpacked(one, most) for one in facts["moved_codes"]}
            samples = tuple(facts["samples_per_step"])
            return cls(facts["engine"], samples, moved, grids_from_json(facts.get("grids", ())))


def _packed(moved: Array) -> str:
    return base64.b64encode(zlib.compress(moved.astype(np.int8).tobytes(), 9)).decode("ascii")


def _unpacked(one: Mapping[str, Any], most: int) -> Array:
    """The codes of a matrix of at most so many elements."""
    rows, columns = one["shape"]
    if min(rows, columns) < 1 or rows * columns > most:
        raise ValueError(f"{one['matrix']}: the model has no matrix of {rows} x {columns}")
    try:
        packed = base64.b64decode(one["int8"], validate=True)
        data = zlib.decompressobj().decompress(packed, rows * columns + 1)
    except zlib.error as error:
        raise ValueError(f"{one['matrix']}: {error}") from error
    moved = np.frombuffer(data, np.int8).reshape(rows, columns)
    if moved.min() < -MOST_MOVED or moved.max() > MOST_MOVED:
        raise ValueError(f"{one['matrix']}: a code is moved by more than {MOST_MOVED}")
    return moved


def moved_codes(job: Job) -> MovedCodes:
    """The codes of every matrix that is not kept in float; from the job's recipe if it has one."""
    if job.recipe is not None:
        return MovedCodes.from_json(job.recipe, weights(job.model))
    found = job.shared.once(("onnx", "moved codes"), lambda: _moved_codes(job))
    kept = {name: moved for name, moved in found.moved.items() if name not in job.keep}
    return dataclasses.replace(found, moved=kept)


def _moved_codes(job: Job) -> MovedCodes:
    samples, probe = some_steps(job, real_samples(job)), ActivationProbe(job)
    moved, found = {}, observed(job, probe)
    for name, moments in found.moments.items():
        values = probe.matrices[name]
        moved[name] = moved_by(nearest_codes(job, name, values), values, moments)
    return MovedCodes(
        engine=f"onnxruntime {onnxruntime.__version__}",
        samples_per_step=tuple(rows_per_step(samples)),
        moved=moved,
        grids=grids_of(found.ranges),
    )


def nearest_codes(job: Job, name: str, values: Array) -> FourBits:
    """`four_bits` of a matrix, searched once for its document and the files that store it."""
    return job.shared.once(("four bits", name), lambda: four_bits(values))


def moved_by(found: FourBits, values: Array, moments: Array) -> Array:
    """How the codes of a matrix ``(K, N)`` differ from the nearest: the same shape, int8."""
    nearest, real = found.codes_of(len(values)), found.real_of(len(values))
    if not np.trace(moments) > 0:  # nothing ever enters it
        return np.zeros_like(nearest)
    order = np.argsort(-np.diag(moments), kind="stable")
    follow = following(moments[np.ix_(order, order)])
    left = values[order].astype(np.float64)
    moved = np.zeros_like(nearest)
    for row, place in enumerate(order):
        scale = real[place]
        wanted = np.rint(left[row] / scale) - nearest[place]
        moved[place] = within_codes(nearest[place], wanted)
        error = (left[row] - (nearest[place] + moved[place]) * scale) / follow[row, row]
        left[row + 1 :] -= np.outer(follow[row, row + 1 :], error)
    return moved


def following(moments: Array) -> Array:
    """The upper triangle by which the error of a row goes to those after it."""
    size = len(moments)
    damped = moments + np.eye(size) * DAMPING * np.trace(moments) / size
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)
