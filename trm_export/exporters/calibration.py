"""Calibration data of an exporter: real rollouts, the same number of rows from every step.

Of a big model, whose steps take seconds, ranges of whole tensors and the clipping are of some steps
only: the first four, every fourth and the last. Where every element has statistics, that is too few
(TFLite, paper-arc: a forced cosine of 0.981 instead of 0.989).

The Keras model runs on puzzles of its own task. At every step the rows that the learned rule has
not stopped come first; where too few are left, stopped rows are added, which a driver would feed
only with ``halt="max_steps"``, so that every step has rows. Never random carries: their ranges
differ from those of states that a recursion reaches (which has cost 9 points of accuracy on ARC).

Knows no file format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trm_export.errors import RejectedInputError, reason_of
from trm_export.exporters.format import Job
from trm_export.exporters.kept_layers import layer_name
from trm_export.step.step_model import AnyModel, adapt
from trm_export.tasks import Task, find_task
from trm_export.version import TOOL
from trm_runtime.contract import StepContract
from trm_runtime.parity import Puzzles
from trm_runtime.runner import StepRunner, initial_carry

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

PUZZLES, HELD_OUT = 32, 16  # puzzles that are rolled out; the latter only to measure clipping
PER_STEP = 8  # rows taken at every step
OTHERS_PER_STEP = 8  # of scrambled puzzles, and of held-out ones
FEW_ROWS = 2  # puzzles of a big model, each in every step that counts; one of the others
FIRST_STEPS, EVERY = 4, 4  # steps of a big model that rows are taken from; see the module
MARGIN = 1.2  # ranges are wider than the observed ones by this factor
FINE_ABOVE = 0.02  # rounding error, relative to a tensor's rms, above which a 2nd product is used


@dataclass(frozen=True)
class StepSample:
    """Rows that enter one step."""

    step: int  # counted from 1
    inputs: Arrays  # (n, ...) as in the contract
    carry: Arrays
    stopped: int  # of these rows, how many the learned rule had stopped


@dataclass(frozen=True)
class Samples:
    """The calibration data of a model."""

    puzzles: int  # that were rolled out for `calibration`
    held_out: int  # that were rolled out for `held_out_steps`
    steps: list[int]  # from 1, of `held_out_steps`
    calibration: list[StepSample]
    scrambled: list[StepSample]  # of puzzles with shifted tokens: users may give any tokens
    held_out_steps: list[StepSample]


@dataclass(frozen=True)
class TensorRange:
    """The 8-bit grid of one activation, over all passes and steps: value = scale x (q - zero)."""

    tensor: str  # the weight that it is multiplied by
    low: float  # observed
    high: float
    rms: float
    scale: float  # of the grid, margin included
    zero_point: int  # uint8
    fine: bool  # the rounding error is computed too, by a second product
    clipping: tuple[float, ...] = ()  # share of held-out values beyond the grid, by step

    def rounds_within(self, share: float) -> bool:
        """Whether its rounding error, which is uniform, is at most this share of the rms."""
        return math.isfinite(self.scale) and self.scale / math.sqrt(12) <= share * self.rms


Grids = Mapping[str, TensorRange]
"""The grid of an activation by the weight that it is multiplied by."""


@dataclass(frozen=True)
class Calibration:
    """Where the ranges in a file come from."""

    engine: str  # that computed the activations
    puzzles: int
    held_out: int
    samples_per_step: tuple[int, ...]
    stopped_per_step: tuple[int, ...]  # of these, rows that the learned rule had stopped
    tensors: tuple[TensorRange, ...]
    steps: tuple[int, ...] = ()  # from 1, which these and the clipping are of; older ones lack it

    def to_json(self) -> str:
        """Indented JSON text, ending in a newline."""
        return json.dumps({"tool": TOOL, **asdict(self)}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Reads the text of `to_json`; RecipeError for any other."""
        with reading_recipe():
            facts = {k: v for k, v in json.loads(text).items() if k != "tool"}
            tensors = [{**one, "clipping": tuple(one["clipping"])} for one in facts.pop("tensors")]
            return cls(**facts, tensors=tuple(TensorRange(**one) for one in tensors))


class RecipeError(RejectedInputError):
    """A calibration document that was not written by this version, or was changed."""


@contextmanager
def reading_recipe() -> Iterator[None]:
    """RecipeError for whatever is wrong with a document that is read in the block."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecipeError(
            f"The calibration document cannot be used: {reason_of(error)}; export the model again."
        ) from error


def grids_of(ranges: Mapping[str, TensorRange], share: float = FINE_ABOVE) -> Grids:
    """Those of the observed ranges that one scale for all rows is enough for.

    `share`: of a tensor's rms, the most rounding error.
    """
    return {name: grid for name, grid in ranges.items() if grid.rounds_within(share)}


def grids_to_json(grids: Grids) -> list[dict[str, Any]]:
    """Plain types, one entry a grid."""
    facts = [asdict(grid) for grid in grids.values()]
    return [{name: one[name] for name in one if name != "clipping"} for one in facts]


def grids_from_json(found: Sequence[Mapping[str, Any]]) -> Grids:
    """Reads what `grids_to_json` gives; ValueError for a grid that no tensor can have."""
    grids = {one["tensor"]: TensorRange(**one) for one in found}
    for grid in grids.values():
        if not (0 < grid.scale < math.inf and 0 <= grid.zero_point <= 255):
            raise ValueError(f"{grid.tensor}: no grid has scale {grid.scale}")
    return grids


def scaled_matrices(recipe: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The matrices ``(out, in)`` that a document scales before they are rounded.

    Their names are those of the weights with a mark in brackets. Empty for a document that scales
    none; RecipeError for one that cannot be read.
    """
    found = {}
    with reading_recipe():
        for one in json.loads(recipe).get("matrices", ()):
            path, _, half = one["matrix"].rstrip("]").partition("[")
            name, scales = layer_name(path), one["scales"]
            matrix = weights[name]
            if half:
                matrix = np.split(matrix, 2, axis=1)[half == "up"]
            columns, outputs = (np.array(scales[k], np.float32) for k in ("columns", "outputs"))
            found[f"{name}[{half or 'scaled'}]"] = matrix.T * columns / outputs[:, None]
    return found


def tensor_range(
    tensor: str, low: float, high: float, rms: float, margin: float = MARGIN
) -> TensorRange:
    """The grid for the observed range of a tensor, wider by a margin. Zero is always on it.

    The rounding error of a grid is uniform: ``scale / sqrt(12)``.
    """
    least, most = min(low * margin, 0.0), max(high * margin, 0.0)
    scale = max((most - least) / 255, 1e-12)
    zero = round(min(max(-least / scale, 0), 255))
    fine = scale / np.sqrt(12) > FINE_ABOVE * rms
    return TensorRange(tensor, low, high, rms, scale, zero, bool(fine))


def samples_for(job: Job) -> Samples:
    """The rollouts of the job's reference, made once for all jobs that share it."""
    return job.shared.once("samples", lambda: _samples(job))


def _samples(job: Job) -> Samples:
    few = 1 if job.shared.few else OTHERS_PER_STEP
    real, held_out = _tokens(job)
    scrambled = np.stack([np.roll(row, 1 + shift) for shift, row in enumerate(real[:few])])
    runner, calibration = job.shared.runner, real_samples(job)
    beyond = some_steps(job, list(rollouts(runner, held_out, few)))
    return Samples(
        len(real), len(held_out), [one.step for one in beyond], calibration,
        list(rollouts(runner, scrambled, few)), beyond,
    )  # fmt: skip


def real_samples(job: Job) -> list[StepSample]:
    """The rollouts of real puzzles alone, made once."""
    rows, runner = FEW_ROWS if job.shared.few else PER_STEP, job.shared.runner
    return job.shared.once("real samples", lambda: list(rollouts(runner, _tokens(job)[0], rows)))


def _tokens(job: Job) -> tuple[Array, Array]:
    """`puzzle_tokens`; few where a step takes long and a row has many positions."""
    real, held_out = job.shared.once("tokens", lambda: puzzle_tokens(job.model, job.puzzles))
    return (real[:FEW_ROWS], held_out[:1]) if job.shared.few else (real, held_out)


def some_steps(job: Job, samples: Sequence[StepSample]) -> list[StepSample]:
    """All samples; of a big model those of the steps that count, see the module."""
    last, few = job.contract.max_steps, job.shared.few
    return [
        one
        for one in samples
        if not few or one.step <= FIRST_STEPS or one.step % EVERY == 0 or one.step == last
    ]


def rows_per_step(samples: Sequence[StepSample]) -> list[int]:
    """How many rows each sample has."""
    return [len(sample.inputs["inputs"]) for sample in samples]


def puzzle_tokens(model: AnyModel, puzzles: Puzzles) -> tuple[Array, Array]:
    """Tokens (n, S) int32 to calibrate on, and held-out ones to measure clipping.

    Training and validation puzzles of the model's task, half of them with many blanks; for a
    model without a shipped task the given puzzles, every third of which is held out.
    """
    task = find_task(adapt(model))
    if task is not None:
        return _both_kinds(task, "train", PUZZLES), _both_kinds(task, "validation", HELD_OUT)
    rows = np.arange(len(puzzles.inputs))
    held_out = rows % 3 == 2 if len(rows) > 1 else rows >= 0
    return puzzles.inputs[~held_out if len(rows) > 1 else held_out], puzzles.inputs[held_out]


def _both_kinds(task: Task, split: str, count: int) -> Array:
    least, most = task.blanks_range
    hard = ((least + most) // 2, most)
    parts = (task.puzzles(split, blanks, count // 2) for blanks in (None, hard))
    return np.concatenate([part.inputs for part in parts])


def rollouts(runner: StepRunner, tokens: Array, per_step: int = PER_STEP) -> Iterator[StepSample]:
    """Rows of every step 1..max_steps, ``min(per_step, n)`` each; see the module.

    Args:
        runner: the reference, with a dynamic batch.
        tokens: (n, S) int32; a model with puzzle identifiers gets identifier 0.
        per_step: rows a step.
    """
    contract = runner.contract
    inputs: Arrays = {"inputs": tokens}
    if contract.num_puzzle_identifiers is not None:
        inputs["puzzle_identifiers"] = np.zeros(len(tokens), np.int32)
    carry = initial_carry(contract, len(tokens))
    stopped = np.zeros(len(tokens), bool)
    for step in range(1, contract.max_steps + 1):
        first = slice(0, per_step)
        yield StepSample(step, _rows(inputs, first), _rows(carry, first), int(stopped[first].sum()))
        if step == contract.max_steps:
            return
        output = runner.step(inputs, carry)
        stopped = stopped | _halts(contract, output.outputs)
        order = np.argsort(stopped, kind="stable")[: max(per_step, int((~stopped).sum()))]
        inputs, carry, stopped = _rows(inputs, order), _rows(output.carry, order), stopped[order]


def _rows(arrays: Mapping[str, Array], rows: slice | Array) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


def _halts(contract: StepContract, outputs: Mapping[str, Array]) -> Array:
    score = contract.halt.score(outputs["q_halt_logits"], outputs["q_continue_logits"])
    return score > contract.halt.threshold
