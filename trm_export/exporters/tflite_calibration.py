"""Calibrate a TFLite export on real rollouts, and write the observed ranges into a manifest.

A float graph of the model, a pass at a time where it has one stack, is fed the rows that `rollouts`
takes from every step, so that every pass of every step has the same weight. The share of clipped
values is measured on held-out puzzles.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from trm_export.errors import ParityError, TRMError
from trm_export.exporters.calibration import (
    Samples,
    StepSample,
    reading_recipe,
    rows_per_step,
    samples_for,
)
from trm_export.exporters.format import Job
from trm_export.exporters.kept_layers import layer_name
from trm_export.exporters.tflite_flatbuffer import Array, attending, digest_of, gated, load, values
from trm_export.exporters.tflite_observe import Observer, statistics
from trm_export.exporters.tflite_recipe import (
    MatrixObservation,
    Product,
    Range,
    ResidueRanges,
    products,
)
from trm_export.model.layers import SwiGLU
from trm_export.step.signature import contract_for
from trm_export.step.step_model import AnyModel, StepModel, adapt
from trm_export.version import TOOL
from trm_runtime.parity.gates import gates_for

BATCH = 8
_SCALED = ("rows", "columns", "outputs")  # what is scaled; see `Product`
_SCORES = 2  # units of a halting head, which stays in float

Convert = Callable[[Job], bytes]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How to write every matrix, and the manifest with the observed ranges and errors."""

    products: Mapping[str, Product]  # by the key of the matrix
    manifest: str  # JSON


def calibrate(job: Job, convert: Convert) -> Calibration:
    """Calibrates the job's model; ``convert`` makes the flatbuffer of a float job.

    Raises ParityError where more than the gate of a state is clipped at any step, TRMError for a
    graph that lacks one of the model's matrices.
    """
    names = {
        key: name for key, name in matrix_names(job.model).items() if not _is_kept(name, job.keep)
    }
    if job.recipe is not None:
        return Calibration(_recalled(job.recipe, names), job.recipe)
    block = job.model.passes is not None
    batch = 1 if job.shared.few else BATCH  # a row of a big model fills every thread
    contract = contract_for(job.model, batch=batch, granularity="block" if block else "step")
    float_job = dataclasses.replace(job, contract=contract, rolled=False)
    data = job.shared.once(("tflite", "float"), lambda: convert(float_job))
    observer = Observer(data, contract)
    _require_all(names, observer)
    samples = samples_for(job)
    affine = {matrix.key for matrix in observer.matrices if not matrix.linear}
    ups = {down: up for down, up in gated(*_graph(data)).items() if {down, up} <= names.keys()}
    observed = job.shared.once(
        ("tflite", "observed"), lambda: _observed(data, observer, job.model, samples)
    )
    recipes = products(
        {key: observed[key] for key in names}, ups, affine & names.keys(), attending(*_graph(data))
    )
    clipped = _clipping(recipes, observer, samples.held_out_steps)
    _refuse_clipping({names[key]: clipped[key] for key in recipes if key not in ups}, samples.steps)
    return Calibration(recipes, _manifest(names, recipes, clipped, samples))


def _is_kept(name: str, keep: Collection[str]) -> bool:
    return layer_name(name.partition("[")[0]) in keep


def matrix_names(model: AnyModel) -> dict[str, str]:
    """Key of every matrix to quantise -> its name in the checkpoint; gate and up as two."""
    model = adapt(model)
    own = model.keras
    saved = {digest_of(array): name for name, array in model.weights.arrays.items()}
    names = {}
    for layer in own._flatten_layers():
        if isinstance(layer, keras.layers.Dense) and layer.units > _SCORES:
            kernel = np.asarray(layer.kernel)
            names[digest_of(kernel.T)] = saved[digest_of(kernel)]
    for layer in own._flatten_layers():
        if isinstance(layer, SwiGLU):
            kernel = np.asarray(layer.gate_up.kernel)
            names.pop(digest_of(kernel.T), None)
            for half, part in (
                ("gate", kernel[:, : layer.width]),
                ("up", kernel[:, layer.width :]),
            ):
                names[digest_of(part.T)] = f"{saved[digest_of(kernel)]}[{half}]"
    return names


def _require_all(names: Mapping[str, str], observer: Observer) -> None:
    missing = sorted(set(names) - {matrix.key for matrix in observer.matrices})
    if missing:
        listed = ", ".join(names[key] for key in missing)
        raise TRMError(
            f"int8-static: the graph that the TFLite converter wrote has no product with {listed}, "
            "so its activations cannot be calibrated; use int8 instead."
        )


def _graph(data: bytes) -> tuple[Any, Any]:
    model = load(data)
    return model, model.subgraphs[0]


def _observed(
    data: bytes, observer: Observer, model: StepModel, samples: Samples
) -> dict[str, MatrixObservation]:
    """Every matrix and its observed activations; the same for every file of a model."""
    parsed, graph = _graph(data)
    rolled_out = [*samples.calibration, *samples.scrambled]
    calls = sum(observer.calls(sample) for sample in rolled_out)
    observed = statistics(observer.run(rolled_out), calls)
    kernels = {m.key: np.asarray(values(parsed, graph, m.weights)) for m in observer.matrices}
    return {key: MatrixObservation(kernels[key], *observed[key]) for key in kernels}


Clipped = dict[str, list[float]]
"""Side of a product -> share of values out of range, one number a step."""


def _clipping(
    recipes: Mapping[str, Product], observer: Observer, samples: list[StepSample]
) -> dict[str, Clipped]:
    totals: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    bounds = {key: _bounds(product) for key, product in recipes.items()}
    for one in observer.run(samples):
        for side, (low, high) in bounds.get(one.key, {}).items():
            array = getattr(one, side)
            total = totals[one.key, side, one.step]
            total[0] += int(np.count_nonzero(array < low) + np.count_nonzero(array > high))
            total[1] += array.size
    rates: dict[str, Clipped] = defaultdict(lambda: defaultdict(list))
    for (key, side, _), (outside_count, size) in sorted(totals.items()):
        rates[key][side].append(outside_count / size)
    return rates


def _bounds(product: Product) -> dict[str, tuple[Array, Array]]:
    """For both sides of a product, the least and the greatest values in range, row by row."""
    sides = {
        "entering": (product.columns, product.entering),
        "leaving": (product.outputs, product.leaving),
    }
    return {
        side: (product.rows * scales * np.float32(low), product.rows * scales * np.float32(high))
        for side, (scales, (low, high)) in sides.items()
    }


def _refuse_clipping(states: Mapping[str, Clipped], steps: Sequence[int]) -> None:
    limit = gates_for("int8-static").carry_clipping or 0.0
    name = max(states, key=lambda matrix: max(states[matrix]["entering"]), default="")
    shares = states[name]["entering"] if name else [0.0]
    if max(shares) > limit:
        raise ParityError(
            f"Calibration failed: {max(shares):.2%} of held-out values entering {name} at step "
            f"{steps[shares.index(max(shares))]} are outside the calibrated range, expected at "
            f"most {limit:.1%}; calibrate on puzzles like those in use."
        )


def _manifest(
    names: Mapping[str, str],
    recipes: Mapping[str, Product],
    clipped: Mapping[str, Clipped],
    samples: Samples,
) -> str:
    matrices = [
        {
            "matrix": names[key],
            "error": product.error,
            "entering": product.entering,
            "leaving": product.leaving,
            "row_scales": [float(product.rows.min()), float(product.rows.max())],
            "clipped": clipped[key],
            "scales": {name: _flat(getattr(product, name)) for name in _SCALED},
            "fine": None if product.fine is None else dataclasses.asdict(product.fine),
        }
        for key, product in recipes.items()
    ]
    facts = {
        "tool": TOOL,
        "puzzles": samples.puzzles,
        "held_out": samples.held_out,
        "clipped_steps": samples.steps,
        "samples_per_step": rows_per_step(samples.calibration),
        "stopped_per_step": [sample.stopped for sample in samples.calibration],
        "scrambled_per_step": rows_per_step(samples.scrambled),
        "held_out_per_step": rows_per_step(samples.held_out_steps),
    }
    return json.dumps({**facts, "matrices": matrices}, indent=1) + "\n"


def _flat(scales: Array) -> list[float]:
    """Scales as numbers, a single one for many ones."""
    return [1.0] if (scales == 1).all() else [float(x) for x in scales.ravel()]


def _recalled(recipe: str, names: Mapping[str, str]) -> dict[str, Product]:
    """The products of a manifest; RecipeError for a document without one of these matrices."""
    with reading_recipe():
        known = {one["matrix"]: one for one in json.loads(recipe)["matrices"]}
        return {key: _product(known[name]) for key, name in names.items()}


def _product(facts: Mapping[str, Any]) -> Product:
    scales = {name: np.array(facts["scales"][name], np.float32) for name in _SCALED}
    fine = facts["fine"]
    ranges = None if fine is None else ResidueRanges(**{k: _range(v) for k, v in fine.items()})
    return Product(
        scales["rows"][:, None], scales["columns"], scales["outputs"],
        _range(facts["entering"]), _range(facts["leaving"]), float(facts["error"]), ranges,
    )  # fmt: skip


def _range(limits: Any) -> Range:
    low, high = limits
    return float(low), float(high)
