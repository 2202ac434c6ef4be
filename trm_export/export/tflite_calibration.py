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
from trm_export.export.rollouts import StepSamples, rollout_samples
from trm_export.export.signature import contract_for
from trm_export.export.tflite_flatbuffer import Array, digest_of, gated, load, values
from trm_export.export.tflite_observe import Observer, statistics
from trm_export.export.tflite_recipe import Observed, Product, products
from trm_export.model import TRM
from trm_export.model.layers import SwiGLU
from trm_export.reference import KerasRunner

BATCH = 8
PUZZLES, SCRAMBLED, HELD_OUT = 16, 8, 8  # multiples of the batch
ENDING = ".calibration.json"

Convert = Callable[[Job], bytes]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How to write every matrix, and the manifest that says why."""

    products: Mapping[str, Product]  # by the key of the matrix
    manifest: str  # JSON


def calibrate(job: Job, convert: Convert) -> Calibration:
    """Calibrates the job's model; ``convert`` makes the flatbuffer of a float job."""
    names = matrix_names(job.model)
    block = job.model.config.family == "paper"
    contract = contract_for(job.model, batch=BATCH, granularity="block" if block else "step")
    data = convert(dataclasses.replace(job, contract=contract, rolled=False))
    observer = Observer(data, contract)
    _all_there(names, observer)
    puzzles, held_out = _puzzles(job)
    found = _products(data, names, observer, job.model, puzzles)
    rolled_out = rollout_samples(KerasRunner(job.model), held_out)
    return Calibration(found, _manifest(job, names, found, _clipping(found, observer, rolled_out)))


def _all_there(names: Mapping[str, str], observer: Observer) -> None:
    missing = sorted(set(names) - {matrix.key for matrix in observer.matrices})
    if missing:
        listed = ", ".join(names[key] for key in missing)
        raise TRMError(
            f"int8-static: the TFLite converter left no product with {listed} in the graph, so "
            "that its activations cannot be calibrated; use int8 instead."
        )


def _products(
    data: bytes, names: Mapping[str, str], observer: Observer, model: TRM, puzzles: Array
) -> dict[str, Product]:
    parsed = load(data)
    graph = parsed.subgraphs[0]
    calls = model.config.halt_max_steps * model.config.passes * len(puzzles) // BATCH
    seen = statistics(observer.run(rollout_samples(KerasRunner(model), puzzles)), calls)
    kernels = {m.key: np.asarray(values(parsed, graph, m.weights)) for m in observer.matrices}
    observed = {key: Observed(kernels[key], *seen[key]) for key in names}
    whole = {matrix.key for matrix in observer.matrices if not matrix.linear}
    return products(observed, gated(parsed, graph), whole)


def matrix_names(model: TRM) -> dict[str, str]:
    """Key of every matrix to quantise -> its name, that of Keras; gate and up apart."""
    names = {}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dense) and layer is not model.inner.q_head:
            names[_key(layer.kernel)] = layer.kernel.path
    for layer in model._flatten_layers():
        if isinstance(layer, SwiGLU):
            kernel = np.asarray(layer.gate_up.kernel)
            path = layer.gate_up.kernel.path
            names.pop(_key(kernel), None)
            names[_key(kernel[:, : layer.width])] = f"{path}[gate]"
            names[_key(kernel[:, layer.width :])] = f"{path}[up]"
    return names


def _key(kernel: Any) -> str:
    return digest_of(np.asarray(kernel).T)


def _puzzles(job: Job) -> tuple[Array, Array]:
    """To calibrate on, and held out.

    Some of the former are scrambled, tokens shifted: a user may ask for anything, and ranges that
    fit only what has a solution saturate on the rest.
    """
    task = task_of(job.model)
    if task is not None:
        real = task.puzzles("train", count=PUZZLES).inputs
        held_out = task.puzzles("validation", count=HELD_OUT).inputs
    else:
        real, held_out = (
            np.resize(job.puzzles.inputs[part::2], (count, job.model.config.seq_len))
            for part, count in ((0, PUZZLES), (-1, HELD_OUT))
        )
    scrambled = [np.roll(row, 1 + shift) for shift, row in enumerate(real[:SCRAMBLED])]
    return np.concatenate([real, scrambled]), held_out


Clipped = dict[str, dict[str, list[float]]]
"""Key of a matrix -> "entering" or "leaving" -> share of values out of range, a number a step."""


def _clipping(
    found: Mapping[str, Product], observer: Observer, samples: Iterable[StepSamples]
) -> Clipped:
    totals: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    for one in observer.run(samples):
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
    job: Job, names: Mapping[str, str], found: Mapping[str, Product], clipped: Clipped
) -> str:
    config = job.model.config
    known = task_of(job.model) is not None
    facts = {
        "tool": f"trm-export {trm_export.__version__}",
        "weights_sha256": job.contract.made_by.weights_sha256,
        "puzzles": PUZZLES,
        "scrambled_puzzles": SCRAMBLED,
        "held_out_puzzles": HELD_OUT,
        "source": "training puzzles; held out: validation puzzles" if known
        else "the puzzles of the export; held out: every other one",
        "steps": config.halt_max_steps,
        "passes_a_step": config.passes,
        "samples_a_step": (PUZZLES + SCRAMBLED) * config.passes,
    }  # fmt: skip
    matrices = [
        {
            "matrix": names[key],
            "error": how.error,
            "entering": how.entering,
            "leaving": how.leaving,
            "row_scales": [float(how.rows.min()), float(how.rows.max())],
            "clipped": clipped[key],
        }
        for key, how in found.items()
    ]
    return json.dumps({**facts, "matrices": matrices}, indent=1) + "\n"
