"""The arithmetic under parity: error sums, Wilson's interval, McNemar's test, gates."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from trm_export.errors import UsageError
from trm_runtime.parity import GATES, Gates, gates_for
from trm_runtime.parity.counts import mcnemar, paired_interval, wilson
from trm_runtime.parity.decisions import Decisions, tolerance
from trm_runtime.parity.gaps import Gaps, TensorDiff, relative
from trm_runtime.parity.judge import value_rungs
from trm_runtime.parity.recorder import both_kinds
from trm_runtime.tensors import TensorSpec


def summed(expected: list, got: list, dtype: str = "float32", batches: int = 1) -> TensorDiff:
    x, y = np.array(expected, dtype), np.array(got, dtype)
    gaps = Gaps.empty([TensorSpec("z_H", dtype, (None, *x.shape[1:]))], 3, len(x))
    for rows in np.array_split(np.arange(len(x)), batches):
        gaps.add(3, rows, {"z_H": x[rows]}, {"z_H": y[rows]})
    return gaps.error(3, 0, np.arange(len(x)), np.zeros(len(x), bool))


def test_equal_tensors_have_no_error() -> None:
    error = summed([[1, 2], [3, 4]], [[1, 2], [3, 4]])
    assert (error.max_abs, error.mean_abs, error.relative_l2) == (0, 0, 0)
    assert error.cosine == pytest.approx(1)
    assert error.worst is None
    assert error.problem(Gates(relative_l2=0.0)) is None


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_errors_do_not_depend_on_the_batches(batches: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 5)).astype("float32")
    y = x + rng.normal(size=(4, 5)).astype("float32")
    error = summed(x.tolist(), y.tolist(), batches=batches)
    gap = y.astype(float) - x
    assert error.max_abs == pytest.approx(np.abs(gap).max())
    assert error.mean_abs == pytest.approx(np.abs(gap).mean())
    assert error.relative_l2 == pytest.approx(np.linalg.norm(gap) / np.linalg.norm(x))
    norms = np.linalg.norm(x) * np.linalg.norm(y)
    assert error.cosine == pytest.approx((x * y).sum() / norms)
    row, column = np.unravel_index(np.abs(gap).argmax(), gap.shape)
    assert error.worst is not None
    assert (error.worst.puzzle, error.worst.position) == (row, (column,))
    assert (error.worst.expected, error.worst.got) == (x[row, column], y[row, column])


@pytest.mark.parametrize("batches", [1, 3])
def test_nan_is_found_and_named_before_any_larger_gap(batches: int) -> None:
    error = summed([[1, 2], [3, 4], [5, 6]], [[1, 2], [3, math.nan], [500, 6]], batches=batches)
    assert error.nonfinite == 1
    assert error.worst is not None
    assert (error.worst.puzzle, error.worst.position) == (1, (1,))
    assert error.problem(Gates()) == "1 NaN or infinite value"
    assert (error.relative_l2, error.max_abs, error.cosine) == (math.inf, math.inf, -math.inf)


def test_a_reference_that_is_not_finite_is_no_reference() -> None:
    error = summed([[1, math.inf]], [[1, math.inf]])
    assert error.problem(Gates()) == "the reference itself has 1 NaN or infinite value"
    part = dataclasses.replace(error, reference_nonfinite=2, reference_leaks=1)
    assert part.problem(Gates()) == "the reference itself has 2 NaN or infinite values"
    leak = dataclasses.replace(part, reference_leaks=2).problem(Gates())
    assert leak is not None
    assert "all in slots that were just refilled: the model uses the old carry" in leak


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_integers_must_be_equal(dtype: str) -> None:
    error = summed([1, 0, 1], [1, 1, 1], dtype)
    assert error.unequal == 1
    assert error.problem(Gates()) == "1 of 3 values differ"


def test_zeros_against_anything() -> None:
    assert relative(0.0, 0.0) == 0.0
    assert relative(1.0, 0.0) == math.inf
    assert summed([[0, 0]], [[0, 0]]).cosine == 1
    assert summed([[0, 0]], [[0, 1]]).problem(Gates(relative_l2=1e-4)) is not None


def test_gates_at_their_edge() -> None:
    error = summed([[100.0]], [[100.01]])
    assert error.problem(Gates(relative_l2=2e-4)) is None
    assert error.problem(Gates(relative_l2=5e-5)) == "relative L2 1.00e-04 is above 5e-05"
    turned = summed([[1.0, 0.0]], [[1.0, 0.1]])
    assert turned.problem(Gates(cosine=0.99)) is None
    assert turned.problem(Gates(cosine=0.999)) == "cosine 0.995037 is below 0.999"


def test_the_gates_are_those_of_the_design() -> None:
    assert list(GATES) == ["fp32", "fp16", "bf16", "int8", "int8-static", "int4"]
    assert gates_for("fp32").relative_l2 == 1e-4
    assert gates_for("fp32").answers == gates_for("fp32").halting_steps == 1.0
    fp16 = gates_for("fp16")
    assert (fp16.cosine, fp16.cells, fp16.halting_steps) == (0.9999, 0.999, 0.99)
    bf16 = gates_for("bf16")
    assert (bf16.cosine, bf16.exact_drop, bf16.mean_steps) == (0.9998, 0.005, 0.1)
    int8 = gates_for("int8")
    assert (int8.cosine, int8.exact_drop, int8.mean_steps) == (0.998, 0.005, 0.25)
    static = gates_for("int8-static")
    assert (static.cosine, static.exact_drop, static.carry_clipping) == (0.99, 0.01, 0.001)
    int4 = gates_for("int4")
    assert (int4.cosine, int4.exact_drop, int4.mean_steps) == (0.98, 0.01, 0.5)
    assert not any(gates.near_ties_excused for gates in (fp16, bf16, int8, static, int4))


def test_an_unknown_precision_has_no_gates() -> None:
    with pytest.raises(UsageError, match="'int2'; use one of fp32, fp16, bf16, int8"):
        gates_for("int2")


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_intervals_of_newcombe_1998(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_paired_intervals_of_agresti_and_min_2005() -> None:
    assert paired_interval(150, 86, 1600) == pytest.approx((-0.0587, -0.0212), abs=5e-5)
    low, high = paired_interval(0, 0, 100)  # no difference is seen, and one of 2 % may be there
    assert (low, high) == pytest.approx((-0.0192, 0.0192), abs=5e-5)
    assert paired_interval(2, 0, 2)[0] == -1.0


def test_wilson_knows_nothing_without_puzzles() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (8, 2, 0.109375), (4, 4, 1.0)],
)
def test_mcnemar_is_the_exact_binomial_test(lost: int, won: int, p: float) -> None:
    assert mcnemar(lost, won) == pytest.approx(p)
    assert mcnemar(won, lost) == pytest.approx(p)


def test_mcnemar_of_many() -> None:
    assert mcnemar(1200, 900) < 1e-9
    assert mcnemar(20_000, 20_000) == 1.0
    assert 0 < mcnemar(10_300, 10_000) < 0.05


def test_near_tie_tolerance_follows_the_forced_error_within_limits() -> None:
    assert tolerance(1e-7) == 1e-3
    assert tolerance(1e-4) == pytest.approx(1e-2)
    assert tolerance(1.0) == 0.1


def test_a_quarter_of_the_followed_rows_are_unsettled_where_there_are_so_many() -> None:
    followed, settled = np.arange(0, 80, 10), np.ones(80, bool)
    assert both_kinds(followed, settled).tolist() == followed.tolist()
    settled[[3, 30, 77]] = False
    found = both_kinds(followed, settled)
    assert len(set(found.tolist())) == len(followed)
    assert found.tolist() == sorted(found.tolist())
    assert 30 in found
    assert (~settled[found]).sum() == 2
    settled[:] = False
    assert both_kinds(followed, settled).tolist() == followed.tolist()
    assert both_kinds(np.arange(0), settled).tolist() == []


def test_a_quarter_of_many_chunks_is_a_quarter_of_all() -> None:
    settled = np.arange(100) < 90
    kinds = [bool(settled[both_kinds(np.array([30]), settled, k)].all()) for k in range(12)]
    assert kinds == [True, True, True, False] * 3


@pytest.mark.parametrize(("equal", "status"), [(0, "failed"), (22, "failed"), (24, "ok")])
def test_where_nothing_else_can_be_judged_answers_are(equal: int, status: str) -> None:
    """An int8 loop on puzzles without solutions shows neither steps nor accuracy."""
    found = Decisions(
        puzzles=24, settled=24, answers_equal=equal, answers_near_tie=0, cells_equal=0.5,
        steps_equal=24, steps_near_tie=0, unsettled_answers_equal=0, unsettled_steps_equal=0,
        mean_steps=1.0, candidate_mean_steps=1.0, logit_tolerance=0.1, score_tolerance=0.1,
        lost_near_tie=0, differences=(), unlisted=0,
    )  # fmt: skip
    rungs = value_rungs(GATES["int8-static"], (), (), 0, found, None)
    assert {rung.name: rung.status for rung in rungs}["answers"] == status
