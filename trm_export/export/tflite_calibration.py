"""Calibrate a TFLite export on real rollouts, and say in a manifest what was seen.

Keras rolls puzzles out to the last step; a float graph of the same model, a pass at a time where it
has one stack, is fed every one of these carries, so that every pass of every step counts alike.
Other puzzles tell how much the ranges clip.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

import trm_export
from trm_export.errors import TRMError
from trm_export.export.format import Job
from trm_export.export.probe import task_of
from trm_export.export.rollouts import rollout_samples
from trm_export.export.signature import contract_for
from trm_export.export.tflite_flatbuffer import Array, digest_of, gated, load
from trm_export.export.tflite_observe import Observer, Seen, statistics
from trm_export.export.tflite_recipe import Product, products
from trm_export.model import TRM
from trm_export.model.layers import SwiGLU
from trm_export.reference import KerasRunner

BATCH = 8
PUZZLES, HELD_OUT = 16, 8  # multiples of the batch
ENDING = ".calibration.json"

Convert = Callable[[Job], bytes]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How to write every matrix, and the manifest that says why."""

    products: Mapping[str, Product]  # by the key of the matrix
    manifest: str  # JSON


def calibrate(job: Job, convert: Convert) -> Calibration:
    """Calibrates the job's model; ``convert`` makes the flatbuffer of a float job."""
    model = job.model
    names = matrix_names(model)
    block = model.config.family == "paper"
    contract = contract_for(model, batch=BATCH, granularity="block" if block else "step")
    data = convert(dataclasses.replace(job, contract=contract, rolled=False))
    observer = Observer(data, contract)
    seen_names = {names.get(matrix.key, "") for matrix in observer.matrices}
    missing = sorted(set(names.values()) - seen_names)
    if missing:
        raise TRMError(
            f"int8-static: the TFLite converter left no product with {', '.join(missing)} in the "
            "graph, so its activations cannot be calibrated; use int8 instead."
        )
    puzzles, held_out = _puzzles(job)
    runner = KerasRunner(model)
    calls = model.config.halt_max_steps * model.config.passes * len(puzzles) // BATCH
    seen = statistics(observer.run(rollout_samples(runner, puzzles)), calls)
    whole = {matrix.key for matrix in observer.matrices if not matrix.linear}
    parsed = load(data)
    found = products({key: seen[key] for key in names}, gated(parsed, parsed.subgraphs[0]), whole)
    clipped = _clipping(found, observer.run(rollout_samples(runner, held_out)))
    facts = {
        "puzzles": len(puzzles),
        "steps": model.config.halt_max_steps,
        "passes_a_step": model.config.passes,
        "samples_a_step": len(puzzles) * model.config.passes,
        "held_out_puzzles": len(held_out),
        "source": "training puzzles; held out: validation puzzles" if task_of(model)
        else "the puzzles of the export, halved",
    }  # fmt: skip
    return Calibration(found, _manifest(facts, names, found, clipped))


def matrix_names(model: TRM) -> dict[str, str]:
    """Key of every matrix to quantise -> its name, that of Keras; gate and up apart."""
    names = {}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dense) and layer is not model.inner.q_head:
            names[_key(layer.kernel)] = layer.kernel.path
    for layer in model._flatten_layers():
        if isinstance(layer, SwiGLU):
            kernel = np.asarray(layer.gate_up.kernel)
            path = names.pop(_key(kernel))
            names[_key(kernel[:, : layer.width])] = f"{path}[gate]"
            names[_key(kernel[:, layer.width :])] = f"{path}[up]"
    return names


def _key(kernel: Any) -> str:
    return digest_of(np.asarray(kernel).T)


def _puzzles(job: Job) -> tuple[Array, Array]:
    """To calibrate on, and held out."""
    task = task_of(job.model)
    if task is not None:
        split = (task.puzzles("train", count=PUZZLES), task.puzzles("validation", count=HELD_OUT))
        return split[0].inputs, split[1].inputs
    half = len(job.puzzles.inputs) // 2
    parts = (job.puzzles.inputs[:half], job.puzzles.inputs[half:])
    first, second = (np.resize(part, (n, part.shape[1])) for part, n in
                     zip(parts, (PUZZLES, HELD_OUT), strict=True))  # fmt: skip
    return first, second


Clipped = dict[str, dict[str, list[float]]]
"""Key of a matrix -> "entering" or "leaving" -> share of values out of range, a number a step."""


def _clipping(found: Mapping[str, Product], seen: Iterable[Seen]) -> Clipped:
    totals: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    for one in seen:
        how = found.get(one.key)
        if how is None:
            continue
        sides = {
            "entering": (one.entering / (how.rows * how.columns), how.entering),
            "leaving": (one.leaving / (how.rows * how.outputs), how.leaving),
        }
        for side, (array, (low, high)) in sides.items():
            total = totals[one.key, side, one.step]
            total[0] += int(((array < low) | (array > high)).sum())
            total[1] += array.size
    rates: Clipped = defaultdict(lambda: defaultdict(list))
    for (key, side, _), (outside, size) in sorted(totals.items()):
        rates[key][side].append(outside / size)
    return rates


def _manifest(
    facts: Mapping[str, Any], names: Mapping[str, str], found: Mapping[str, Product], clips: Clipped
) -> str:
    tensors = [
        {
            "matrix": names[key],
            "side": side,
            "range": list(limits),
            "row_scales": [float(how.rows.min()), float(how.rows.max())],
            "rounding_error": error,
            "clipped": clips[key][side],
        }
        for key, how in found.items()
        for side, limits, error in (
            ("entering", how.entering, how.errors[0]), ("leaving", how.leaving, how.errors[1])
        )
    ]  # fmt: skip
    tool = f"trm-export {trm_export.__version__}"
    return json.dumps({"tool": tool, **facts, "tensors": tensors}, indent=1) + "\n"
