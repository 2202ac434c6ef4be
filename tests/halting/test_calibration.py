"""The fit of a probability that an answer is right, and the figures of how well it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.test_settling import Moving
from trm_export.halting.calibration import Answers, Calibration, calibrate, judged
from trm_export.halting.curve import Trace
from trm_export.halting.trying import calibrated_again
from trm_export.halting.tuning import calibrated
from trm_runtime import solve
from trm_runtime.certainty import confidence_of
from trm_runtime.errors import UsageError
from trm_runtime.parity.counts import wilson

Array = np.ndarray[Any, Any]


def drawn(count: int, seed: int, moved: float = 0.0, agreement: float = 0.0) -> Answers:
    """Answers that are right with a logistic probability of these coefficients."""
    rng = np.random.default_rng(seed)
    score = rng.normal(1.0, 3.0, count).astype(np.float32)
    change = (10 ** rng.uniform(-4, 0, count)).astype(np.float32)
    share = (rng.integers(1, 9, count) / 8).astype(np.float32)
    z = 0.8 * score - 1.0 + moved * np.log(change) + agreement * share
    return Answers(score, rng.random(count) < 1 / (1 + np.exp(-z)), change, share)


def held(answers: Answers, tested: Answers) -> Calibration:
    """How the fit on some answers holds on others."""
    rule = calibrate(answers)
    return judged(confidence_of(rule, tested.score, tested.moved, tested.agreement), tested.right)


def test_the_coefficients_of_many_puzzles_are_found_again() -> None:
    rule = calibrate(drawn(20_000, 0, moved=-0.5, agreement=3.0), tries=8)
    assert rule.score == pytest.approx(0.8, rel=0.05)
    assert rule.moved == pytest.approx(-0.5, rel=0.1)
    assert rule.agreement == pytest.approx(3.0, rel=0.1)
    assert rule.bias == pytest.approx(-1.0, abs=0.2)
    assert (rule.puzzles, rule.tries) == (20_000, 8)


def test_what_does_not_help_is_not_used() -> None:
    rule = calibrate(drawn(4000, 1))
    assert rule.score == pytest.approx(0.8, rel=0.1)
    assert rule.moved == rule.agreement == 0.0


def test_the_probability_holds_on_other_puzzles() -> None:
    found = held(drawn(3000, 2, moved=-0.5), drawn(3000, 3, moved=-0.5))
    assert found.error < 0.03
    assert found.interval[0] < found.brier < found.interval[1] < 0.15
    wrong = judged(np.full(3000, 0.99, np.float32), drawn(3000, 3, moved=-0.5).right)
    assert wrong.error > 0.2


@pytest.mark.parametrize("right", [True, False])
def test_a_sample_of_one_kind_claims_no_certainty(right: bool) -> None:
    score = np.linspace(3, 9, 50).astype(np.float32)
    sure = confidence_of(calibrate(Answers(score, np.full(50, right))), score)
    wanted = 51 / 52 if right else 1 / 52
    np.testing.assert_allclose(sure, wanted, atol=1e-3)


def test_separate_scores_stay_finite_and_ordered() -> None:
    score = np.concatenate([np.linspace(-9, -4, 40), np.linspace(5, 7, 40)]).astype(np.float32)
    rule = calibrate(Answers(score, score > 0))
    sure = confidence_of(rule, score)
    assert np.isfinite([rule.bias, rule.score]).all()
    assert (np.diff(sure) >= 0).all()
    assert sure[39] < 0.5 < sure[40]
    assert sure.max() < 0.999


def test_no_answer_is_left_out_of_the_fit() -> None:
    answers = drawn(400, 4)
    score = answers.score.copy()
    score[:100] = np.nan
    rest = Answers(answers.score[100:], answers.right[100:])
    assert calibrate(Answers(score, answers.right)).score == pytest.approx(
        calibrate(rest).score, rel=0.3
    )
    score[:385] = np.nan
    with pytest.raises(UsageError, match="fitted on 20 answers or more, got 15"):
        calibrate(Answers(score, answers.right))


def test_the_risk_is_that_of_the_most_confident() -> None:
    sure = np.array([0.2, 0.9, 0.8, 0.99, 0.5, 0.1, 0.7, 0.6, 0.4, 0.3], np.float32)
    right = np.array([0, 1, 0, 1, 1, 0, 1, 0, 1, 0], bool)
    found = judged(sure, right)
    half, most, nearly = found.points
    assert (half.answered, half.wrong, half.risk) == (5, 2, 0.4)
    assert half.interval == wilson(2, 5)
    assert half.confidence == pytest.approx(0.6)
    assert (most.answered, most.wrong) == (8, 3)
    assert nearly.answered in (9, 10)
    assert [one.answered for one in found.curve] == list(range(1, 11))
    assert found.brier == pytest.approx(np.mean((sure - right) ** 2))
    assert found.error == pytest.approx(np.mean(np.abs(sure - right)))


def test_the_confidence_of_a_file_is_of_the_step_at_which_it_halts() -> None:
    rng = np.random.default_rng(5)
    exact = rng.random((4, 300)) < np.array([0.1, 0.5, 0.9, 0.9])[:, None]
    scores = np.where(exact, 4.0, -4.0) + rng.normal(0, 2, (4, 300))
    trace = Trace(scores.astype(np.float32), exact)
    hits = trace.scores > 1.0
    at = np.where(hits.any(axis=0), hits.argmax(axis=0), 3), np.arange(300)
    assert calibrated(trace, 1.0) == calibrate(Answers(trace.scores[at], exact[at]))
    assert calibrated(trace, 1.0) != calibrate(Answers(trace.scores[-1], exact[-1]))


def test_several_tries_are_fitted_by_what_solve_says_of_them() -> None:
    runner, puzzles = Moving(), toy_puzzles(40, (3,))
    options: dict[str, Any] = {
        "halt": 6.0,
        "settled": 1.0,
        "tries": 3,
        "vary": "noise",
        "sigma": 0.4,
    }
    rule = calibrated_again(runner, puzzles, options)
    solution = solve(runner, puzzles.inputs, **options)
    score, right = solution.q_halt, puzzles.exact(solution.answers)
    assert (rule.tries, rule.puzzles) == (3, 40)
    assert rule == calibrate(Answers(score, right, solution.moved, solution.agreement), 3)
    assert np.ptp(np.asarray(solution.agreement)) > 0
