"""Losses against float64 references, at the ends of the range too."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from trm_export.training.losses import (
    exact_rows,
    log_stablemax,
    q_cross_entropy,
    row_cross_entropy,
)


def test_log_stablemax_equals_its_definition_in_float64() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 11)) * 10.0 ** rng.uniform(-3, 4, (200, 1))
    logits = logits.astype("float32")
    logits[0] = 0
    x = logits.astype(np.float64)
    s = np.where(x >= 0, x + 1, 1 / (1 - np.minimum(x, 0)))
    wanted = np.log(s / s.sum(-1, keepdims=True))
    found = np.asarray(log_stablemax(ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)


def test_row_cross_entropy_averages_the_labelled_cells_of_each_row() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (3, 4, 5)).astype("float32")
    labels = np.array([[1, 2, 3, 4], [0, 0, 4, 1], [0, 0, 0, 0]], "int32")
    x = logits.astype(np.float64)
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    wanted = [
        -np.mean([log_p[0, i, labels[0, i]] for i in range(4)]),
        -(log_p[1, 2, 4] + log_p[1, 3, 1]) / 2,
        0.0,
    ]
    tensors = ops.convert_to_tensor(labels), ops.convert_to_tensor(logits)
    found = np.asarray(row_cross_entropy(*tensors, kind="softmax"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_exact_rows_ignore_padding() -> None:
    logits = np.eye(4, dtype="float32")[[[1, 2, 3], [1, 2, 3], [3, 2, 1]]]
    labels = np.array([[1, 2, 3], [1, 0, 3], [1, 2, 1]], "int32")
    found = exact_rows(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits))
    assert np.asarray(found).tolist() == [True, True, False]


def test_q_cross_entropy_is_stable_at_the_ends() -> None:
    q = np.array([-200.0, -5.0, 0.0, 5.0, 200.0], "float32")
    for target in (0.0, 0.3, 1.0):
        wanted = np.logaddexp(0, q.astype(np.float64)) - q * target
        found = np.asarray(q_cross_entropy(target, ops.convert_to_tensor(q)))
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)
