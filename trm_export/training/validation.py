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

from trm_export.halting.curve import Trace, choose, curve, point
from trm_export.model import TRM
from trm_export.tasks import PuzzleSet
from trm_runtime.contract import HALT_KINDS, HaltRule

Array = np.ndarray[Any, Any]

_THRESHOLDS = np.arange(-6, 8.5, 0.5).tolist()  # logits


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

        return tf.function(step, autograph=False, jit_compile=True)
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(step)
    return step


def trace(model: TRM, puzzles: PuzzleSet, *, batch_size: int = 64, step: Any = None) -> Trace:
    """Runs puzzles with their solutions through all ``halt_max_steps`` steps of the model."""
    step = step or compiled_step(model)
    rows, c = len(puzzles), model.config
    feeds = puzzles.feeds(c.num_puzzle_identifiers if c.puzzle_emb_ndim else None)
    size = -(-rows // batch_size) * batch_size
    padded = {name: np.resize(array, (size, *array.shape[1:])) for name, array in feeds.items()}
    parts = [
        _trace_batch(
            model, {name: a[start : start + batch_size] for name, a in padded.items()}, step
        )
        for start in range(0, size, batch_size)
    ]
    answers, scores = (np.concatenate(side, axis=1)[:, :rows] for side in zip(*parts, strict=True))
    return Trace(scores, puzzles.exact(answers))


def _trace_batch(model: TRM, feeds: dict[str, Array], step: Callable[[Any, Any], Any]) -> Any:
    batch = {name: ops.convert_to_tensor(array, "int32") for name, array in feeds.items()}
    rule = HaltRule(HALT_KINDS[0 if model.no_act_continue else 1])
    carry, answers, scores = model.initial_carry(batch), [], []
    for _ in range(model.halt_max_steps):
        carry, outputs = step(carry, batch)
        answers.append(np.argmax(ops.convert_to_numpy(outputs["logits"]), -1).astype(np.int32))
        score = rule.score(outputs["q_halt_logits"], outputs["q_continue_logits"])
        scores.append(ops.convert_to_numpy(score))
    return np.stack(answers), np.stack(scores)


def halting_point(traced: Trace, threshold: float) -> HaltingPoint:
    """Accuracy and cost of one threshold."""
    found = point(traced.scores, traced.exact, threshold)
    solved = float("nan") if found.mean_steps_solved is None else found.mean_steps_solved
    full = float(traced.exact[-1].mean())
    return HaltingPoint(threshold, found.exact, full, found.mean_steps, solved)


def tune_threshold(traced: Trace, *, allowed_loss: float = 0.002) -> HaltingPoint:
    """The threshold with the fewest steps that costs at most ``allowed_loss`` of accuracy.

    The loss is against running all steps, or against the best threshold where later steps lose some
    answers (rows that trained with fewer steps); thresholds are multiples of 0.5 in [-6, 8].
    """
    points = curve(traced.scores, traced.exact, _THRESHOLDS)
    most = max(float(traced.exact[-1].mean()), *(point.exact for point in points))
    best = choose(points, allowed_loss, best=most)
    return halting_point(traced, best.threshold)
