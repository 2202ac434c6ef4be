"""ACT training as a Keras model: plain ``fit()`` performs one ACT step a batch.

The carry is stored in non-trainable weights, one slot a batch row. A slot that has halted takes its
row of the incoming batch, the others continue their puzzle and ignore it (arXiv 2510.04871, deep
supervision). Knows nothing about tasks, files or progress.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from trm_export.model import TRM
from trm_export.training.losses import exact_rows, q_cross_entropy, row_cross_entropy


class ACTTrainer(keras.Model):
    """Wraps a TRM; train with ``fit`` on ``{"inputs": (batch, seq), "labels": (batch, seq)}``.

    In training a row halts after ``limit`` steps at the latest, by default the model's own. The
    labels may be ``(batch, goals, seq)``: the target of ACT step n is the n-th goal, and of later
    steps the last goal, which is the solution. The halting target is 1 when the answer is the
    solution.

    Args:
        model: the TRM to train; its weights are the trainer's trainable weights.
        batch_size: slots of the carry, and rows of every batch.
        loss_kind: ``"stablemax"`` or ``"softmax"``.
        q_weight: weight of the halting loss.
        ponder_cost: added loss for each expected further step (Graves 2016), 0 for none.
        goals: labels of a row.
    """

    def __init__(
        self,
        model: TRM,
        batch_size: int,
        *,
        loss_kind: str = "stablemax",
        q_weight: float = 0.5,
        ponder_cost: float = 0.0,
        goals: int = 1,
    ) -> None:
        super().__init__(name="act_trainer", autocast=False)
        self.trm, self.loss_kind = model, loss_kind
        self.q_weight, self.ponder_cost = q_weight, ponder_cost
        seq = (batch_size, model.seq_len)
        carry = model.initial_carry({"inputs": ops.zeros(seq, "int32")})
        self.slots = {name: self._slot(name, value) for name, value in carry.items()}
        self.labels = self._slot("labels", ops.zeros((batch_size, goals, model.seq_len), "int32"))
        self.limit = self.add_weight(
            (), keras.initializers.Constant(model.halt_max_steps), dtype="int32", trainable=False,
            name="act_steps",
        )  # fmt: skip
        names = ("ce", "q_loss", "exact", "cells", "steps", "halted")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    def _slot(self, name: str, value: Any) -> Any:
        dtype = keras.backend.standardize_dtype(value.dtype)
        start = "ones" if dtype == "bool" else "zeros"
        return self.add_weight(
            value.shape, start, dtype=dtype, trainable=False, name=f"carry_{name}"
        )

    def call(self, batch: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """One ACT step of all slots -> the TRM's outputs with ``steps``, ``halted`` and, both
        ``(batch, seq)`` int32, ``labels``, the goal of that step, and ``solution``.

        The carry advances in training only.
        """
        carry = {name: slot.value for name, slot in self.slots.items()}
        fresh = ops.broadcast_to(ops.reshape(carry["halted"], (-1, 1, 1)), self.labels.shape)
        incoming = ops.reshape(ops.cast(batch["labels"], "int32"), self.labels.shape)
        labels = ops.where(fresh, incoming, self.labels.value)
        carry, outputs = self.trm(carry, batch, training=training)
        if training:
            limited = carry["steps"] >= self.limit.value
            carry = {**carry, "halted": ops.logical_or(carry["halted"], limited)}
            for name, slot in self.slots.items():
                slot.assign(carry[name])
            self.labels.assign(labels)
        goals = labels.shape[1]
        chosen = ops.one_hot(ops.minimum(carry["steps"], goals) - 1, goals, dtype="int32")
        goal = ops.sum(labels * ops.expand_dims(chosen, -1), axis=1)
        targets = {"labels": goal, "solution": labels[:, -1]}
        return {**outputs, **targets, "steps": carry["steps"], "halted": carry["halted"]}

    def sync(self) -> None:
        """Puts the weights of a running `fit` into the variables; JAX keeps them outside."""
        if keras.backend.backend() == "jax":
            self.jax_state_sync()

    def is_finite(self) -> bool:
        """Whether no weight of the model is NaN or infinite."""
        self.sync()
        values = (ops.convert_to_numpy(weight) for weight in self.trm.trainable_variables)
        return all(np.isfinite(value).all() for value in values)

    def save_own_variables(self, store: Any) -> None:
        """Nothing: a backup is as small at any batch size, and a resumed run takes new puzzles."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing was saved; the slots are as at the start, all halted."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears all gradients; PyTorch only, called by `fit` before every step.

        Keras would clear only those it finds by their paths, which several layers here share; the
        others would add up from step to step.
        """
        for variable in self.trainable_variables:
            variable.value.grad = None

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Answer loss + ``q_weight`` x halting loss + ponder cost, averaged over the rows."""
        labels, logits, q_halt = y_pred["labels"], y_pred["logits"], y_pred["q_halt_logits"]
        solved = ops.cast(exact_rows(y_pred["solution"], logits), "float32")
        ce = row_cross_entropy(labels, logits, kind=self.loss_kind)
        q_loss = q_cross_entropy(solved, q_halt)
        if "target_q_continue" in y_pred:
            q_loss = q_loss + q_cross_entropy(
                y_pred["target_q_continue"], y_pred["q_continue_logits"]
            )
        self._track(y_pred, ce, q_loss, ops.cast(exact_rows(labels, logits), "float32"))
        total = ops.mean(ce) + self.q_weight * ops.mean(q_loss)
        if self.ponder_cost:
            total = total + self.ponder_cost * ops.mean(1 - ops.sigmoid(q_halt))
        return total

    def _track(self, y_pred: dict[str, Any], ce: Any, q_loss: Any, exact: Any) -> None:
        halted = ops.cast(y_pred["halted"], "float32")
        cells = ops.equal(
            ops.cast(ops.argmax(y_pred["logits"], axis=-1), "int32"), y_pred["labels"]
        )
        self.trackers["ce"].update_state(ce)
        self.trackers["q_loss"].update_state(q_loss)
        self.trackers["halted"].update_state(halted)
        self.trackers["exact"].update_state(exact, sample_weight=halted)
        self.trackers["cells"].update_state(
            ops.mean(ops.cast(cells, "float32"), axis=-1), sample_weight=halted
        )
        self.trackers["steps"].update_state(
            ops.cast(y_pred["steps"], "float32"), sample_weight=halted
        )
