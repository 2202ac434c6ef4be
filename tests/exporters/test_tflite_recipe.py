"""The arithmetic of static int8: zero is exact, and rescaling rows pays where rows differ."""

from __future__ import annotations

import numpy as np
import pytest

from trm_export.exporters.calibration import MARGIN
from trm_export.exporters.tflite_observe import ObservedProduct, statistics
from trm_export.exporters.tflite_recipe import (
    MatrixObservation,
    products,
    quantised_rows,
    rounded,
    scale_and_zero_point,
)


@pytest.mark.parametrize("limits", [(-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0)])
def test_zero_survives_rounding_exactly(limits: tuple[float, float]) -> None:
    scale, zero = scale_and_zero_point(limits)
    assert scale > 0
    assert -128 <= zero <= 127
    assert rounded(np.zeros(3, np.float32), limits).tolist() == [0, 0, 0]


def test_rows_of_a_matrix_are_rounded_on_scales_of_their_own() -> None:
    matrix = np.array([[1.0, -2.0], [100.0, 50.0], [0.0, 0.0]], np.float32)
    integers, scales = quantised_rows(matrix)
    assert integers.dtype == np.int8
    assert np.abs(integers * scales[:, None] - matrix).max() <= scales.max() / 2
    assert integers[:2].min() == -127


def test_long_tails_are_rounded_in_three_passages() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(6, 5)).astype(np.float32)
    arrays = [rng.standard_t(2, size=(2, 4, 5)).astype(np.float32) for _ in range(40)]
    seen = statistics((ObservedProduct(1, "m", x, x @ matrix.T) for x in arrays), 12)
    (found,) = products({"m": MatrixObservation(matrix, *seen["m"])}, {}, ()).values()
    assert found.fine is not None
    low, high = found.fine.narrow
    assert (found.leaving[0], found.leaving[1]) < (low, high) < (0, found.leaving[1])
    assert found.error < 0.02


@pytest.mark.parametrize("attending", [(), ("m",)])
def test_queries_and_keys_are_not_clipped(attending: tuple[str, ...]) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(64, 32)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    arrays = [rng.normal(size=(2, 16, 32)).astype(np.float32) for _ in range(200)]
    seen = statistics((ObservedProduct(1, "m", x, x @ matrix.T) for x in arrays), 12)
    (found,) = products({"m": MatrixObservation(matrix, *seen["m"])}, {}, (), attending).values()
    largest = float((seen["m"][1].high / found.rows).max())
    assert found.leaving[1] == pytest.approx(largest * (MARGIN if attending else 0.8))


@pytest.mark.filterwarnings("error")
def test_values_beyond_half_floats_are_observed() -> None:
    matrix = np.eye(5, dtype=np.float32)
    arrays = [np.full((2, 4, 5), 1e6, np.float32) for _ in range(12)]
    seen = statistics((ObservedProduct(1, "m", x, x @ matrix) for x in arrays), 12)
    for total in seen["m"]:
        assert (total.high == 1e6).all()
        assert all(np.isfinite(sample).all() for sample in total.samples)


def test_rows_of_different_size_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(6, 5)).astype(np.float32)
    sizes = np.array([0.01, 1.0, 100.0, 3.0])[:, None]
    arrays = [(rng.normal(size=(2, 4, 5)) * sizes).astype(np.float32) for _ in range(40)]
    seen = statistics((ObservedProduct(1, "m", x, x @ matrix.T) for x in arrays), 12)
    observed = {"m": MatrixObservation(matrix, *seen["m"])}
    (found,) = products(observed, {}, ()).values()
    (plain,) = products(observed, {}, {"m"}).values()
    assert found.rows.shape == (4, 1)
    assert (plain.rows == 1).all()
    assert found.error < 0.03 < 0.3 < plain.error
