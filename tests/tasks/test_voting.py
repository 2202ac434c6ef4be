from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from trm_export.errors import UsageError
from trm_export.tasks import ArcTask
from trm_export.tasks import arc as arc_module
from trm_export.tasks.arc_data import Problem
from trm_export.tasks.arc_grids import decode, encode
from trm_export.tasks.voting import ArcScore, evaluate_arc


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> ArcTask:
    """Two problems: one copies its grid, the other is not turned into anything a copy could do."""
    rng = np.random.default_rng(0)
    grids = [rng.integers(0, 10, (3, 4)).astype(np.uint8) for _ in range(4)]
    problems = (
        Problem("train", True, ((grids[0], grids[0]),), ((grids[1], grids[1]),)),
        Problem("copies", False, ((grids[0], grids[0]),), ((grids[1], grids[1]),) * 2),
        Problem("differs", False, ((grids[2], grids[3]),), ((grids[2], grids[3]),)),
    )
    monkeypatch.setattr(arc_module, "load_problems", lambda version: problems)
    return ArcTask("arc", "made up", copies=4)


def answered(
    task: ArcTask, wrong: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, **options: Any
) -> ArcScore:
    """The score of a model that copies its input, but for these identifiers."""

    @dataclasses.dataclass
    class Found:
        answers: np.ndarray
        q_halt: np.ndarray
        steps: np.ndarray
        nonfinite: int = 0

    def solve(runner: Any, feeds: dict[str, np.ndarray], **_: Any) -> Found:
        answers = feeds["inputs"].copy()
        identifiers = feeds["puzzle_identifiers"]
        for row in np.flatnonzero(np.isin(identifiers, wrong)):
            answers[row] = encode(np.full((2, 2), identifiers[row] % 10, np.uint8))
        n = len(answers)
        return Found(answers, np.zeros(n), np.full(n, 3))

    monkeypatch.setattr("trm_export.tasks.voting.solve", solve)
    runner = dataclasses.make_dataclass("Runner", ["contract"])(
        dataclasses.make_dataclass("Contract", ["num_puzzle_identifiers"])(options.pop("known", 13))
    )
    return evaluate_arc(runner, task, **options)


def test_copies_are_turned_back_and_outvote_a_wrong_answer(
    task: ArcTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = task.identifier(1)
    score = answered(task, (plain,), monkeypatch)
    assert [one.problem for one in score.asked] == ["copies", "copies", "differs"]
    assert [one.candidates[0].votes for one in score.asked] == [3, 3, 4]
    assert score.exact(1) == 2 / 3
    assert score.problems_solved(1) == 0.5
    assert score.mean_steps == 3
    alone = answered(task, (plain,), monkeypatch, copies=1)
    assert alone.exact(2) == 0
    assert (
        task.problems[1].asked[0][0] == decode(encode(score.asked[0].candidates[0].answer))
    ).all()


def test_two_attempts_count(task: ArcTask, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tuple(task.identifier(1, copy) for copy in range(3))
    score = answered(task, wrong, monkeypatch, problems=[1])
    assert score.asked[0].solved(4)
    assert len(score.asked[0].candidates) >= 2


def test_copies_and_identifiers_must_exist(task: ArcTask, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="copies must be 1 to 4, got 5"):
        answered(task, (), monkeypatch, copies=5)
    for known in (12, 14):
        with pytest.raises(
            UsageError, match=rf"arc has 13 with 4 .* but the model has {known}, so"
        ):
            answered(task, (), monkeypatch, known=known)
