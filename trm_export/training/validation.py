"""Validation: the answers of a TRM at every ACT step, and the tuned halting threshold.

A trace runs every puzzle once to its last step; the results of every threshold are then read from
it by `trm_export.halting.curve`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from trm_export.halting.curve import choose, curve, point
from trm_export.model import TRM
from trm_export.training.losses import IGNORED_LABEL

Array = np.ndarray[Any, Any]

_THRESHOLDS = np.arange(-6, 8.5, 0.5).tolist()  # logits


@dataclasses.dataclass(frozen=True)
class Trace:
    """Answers and halting scores of ``N`` puzzles over all ``T`` steps."""

    answers: Array  # (T, N, S) int32
    scores: Array  # (T, N) float32: q_halt, or q_halt - q_continue

    def exact(self, labels: Array) -> Array:
        """(T, N) bool: whether the answer of a step is the label, of all (N, S) int32.

        Cells labelled 0 do not count, as in training.
        """
        return ((self.answers == labels) | (labels == IGNORED_LABEL)).all(axis=-1)


@dataclasses.dataclass(frozen=True)
class HaltingPoint:
    """One halting threshold on one set of puzzles."""

    threshold: float
    exact: float  # share of puzzles answered right at the latched step
    exact_all_steps: float  # the same when every puzzle runs all steps
    mean_steps: float
    mean_steps_solved: float  # over the puzzles answered right


def compiled_step(model: TRM) -> Callable[[Any, Any], Any]:
    """``(carry, batch) -> (carry, outputs)`` at inference, compiled where the backend can."""

    def step(carry: Any, batch: Any) -> Any:
        return model(carry, batch, training=False)

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(step, jit_compile=True)
    return step


def trace(
    model: TRM,
    inputs: Array,
    *,
    batch_size: int = 64,
    step: Any = None,
    identifiers: Array | None = None,
) -> Trace:
    """Runs ``inputs`` (N, S) int32 through all ``halt_max_steps`` steps of the model.

    ``identifiers`` (N,) int32 for a model that has puzzle identifiers.
    """
    step = step or compiled_step(model)
    rows = len(inputs)
    feeds = {"inputs": inputs}
    if identifiers is not None:
        feeds["puzzle_identifiers"] = identifiers
    size = -(-rows // batch_size) * batch_size
    padded = {name: np.resize(array, (size, *array.shape[1:])) for name, array in feeds.items()}
    parts = [
        _trace_batch(
            model, {name: a[start : start + batch_size] for name, a in padded.items()}, step
        )
        for start in range(0, size, batch_size)
    ]
    answers = np.concatenate([part[0] for part in parts], axis=1)[:, :rows]
    return Trace(answers, np.concatenate([part[1] for part in parts], axis=1)[:, :rows])


def _trace_batch(model: TRM, feeds: dict[str, Array], step: Callable[[Any, Any], Any]) -> Any:
    batch = {name: ops.convert_to_tensor(array, "int32") for name, array in feeds.items()}
    carry, answers, scores = model.initial_carry(batch), [], []
    for _ in range(model.halt_max_steps):
        carry, outputs = step(carry, batch)
        answers.append(np.argmax(ops.convert_to_numpy(outputs["logits"]), -1).astype(np.int32))
        score = outputs["q_halt_logits"]
        if not model.no_act_continue:
            score = score - outputs["q_continue_logits"]
        scores.append(ops.convert_to_numpy(score))
    return np.stack(answers), np.stack(scores)


def halting_point(traced: Trace, labels: Array, threshold: float) -> HaltingPoint:
    """Accuracy and cost of one threshold; ``labels`` (N, S) int32."""
    exact = traced.exact(labels)
    latched = point(traced.scores, exact, threshold)
    solved = float("nan") if latched.mean_steps_solved is None else latched.mean_steps_solved
    full = float(exact[-1].mean())
    return HaltingPoint(threshold, latched.exact, full, latched.mean_steps, solved)


def tune_threshold(traced: Trace, labels: Array, *, allowed_loss: float = 0.002) -> HaltingPoint:
    """The threshold with the fewest steps that costs at most ``allowed_loss`` of accuracy.

    The loss is against running all steps, or against the best threshold where later steps lose some
    answers (rows that trained with fewer steps); thresholds are multiples of 0.5 in [-6, 8].
    """
    exact = traced.exact(labels)
    points = curve(traced.scores, exact, _THRESHOLDS)
    most = max(float(exact[-1].mean()), *(point.exact for point in points))
    best = choose(points, allowed_loss, best=most)
    return halting_point(traced, labels, best.threshold)
