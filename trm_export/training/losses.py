"""Losses of ACT training, in float32, on every Keras backend.

Stablemax (Prieto et al. 2025, arXiv 2501.04697) as used by arXiv 2510.04871:
``s(x) = x + 1`` for ``x >= 0`` and ``1 / (1 - x)`` below, normalised over the vocabulary.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from trm_runtime.judging import right_cells

IGNORED_LABEL = 0


def log_stablemax(logits: Any) -> Any:
    """``log(s(x) / sum s(x))`` over the last axis.

    ``log s(x) = log1p(max(x, 0)) - log1p(max(-x, 0))`` needs no float64.
    """
    positive, negative = ops.relu(logits), ops.relu(-logits)
    log_s = ops.log1p(positive) - ops.log1p(negative)
    total = ops.sum(ops.where(logits >= 0, positive + 1, 1 / (1 + negative)), -1, keepdims=True)
    return log_s - ops.log(total)


def row_cross_entropy(labels: Any, logits: Any, *, kind: str = "stablemax") -> Any:
    """Cross-entropy of each row, averaged over its labelled cells.

    Args:
        labels: ``(batch, seq)`` int32; 0 is padding and does not count.
        logits: ``(batch, seq, vocab)`` float32.
        kind: ``"stablemax"`` or ``"softmax"``.

    Returns:
        ``(batch,)`` float32, in nats.
    """
    log_p = log_stablemax(logits) if kind == "stablemax" else ops.log_softmax(logits)
    chosen = ops.sum(log_p * ops.one_hot(labels, logits.shape[-1], dtype="float32"), axis=-1)
    labelled = ops.cast(labels != IGNORED_LABEL, "float32")
    cells = ops.maximum(ops.sum(labelled, axis=-1), 1.0)
    return -ops.sum(chosen * labelled, axis=-1) / cells


def exact_rows(labels: Any, logits: Any) -> Any:
    """Rows ``(batch,)`` bool whose every labelled cell is answered right."""
    answers = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.all(right_cells(answers, labels, IGNORED_LABEL), axis=-1)


def q_cross_entropy(targets: Any, q_logits: Any) -> Any:
    """Binary cross-entropy ``(batch,)`` of a q logit against a target in [0, 1]."""
    return ops.relu(q_logits) - q_logits * targets + ops.log1p(ops.exp(-ops.absolute(q_logits)))
