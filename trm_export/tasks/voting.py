"""Solve every ARC problem in many symmetries, and vote on the answers.

Each augmented copy of a problem has its own puzzle identifier, so the copies are the tries, and not
the guises of the contract. Their symmetry is undone in the answers, and `trm_runtime.tries.tally`
counts the votes, as it does for `solve(..., choose="vote")` and as the official evaluation does.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trm_export.errors import UsageError
from trm_export.tasks.arc import ArcTask
from trm_export.tasks.arc_grids import decode, encode
from trm_export.tasks.task import has_identifiers_of
from trm_runtime import solve
from trm_runtime.contract import StepContract
from trm_runtime.runner import StepRunner
from trm_runtime.tries import Candidate, tally

__all__ = ["ArcScore", "VotedGrid", "evaluate_arc", "refuse_votes"]

Grid = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class VotedGrid:
    """The candidates for one unknown grid."""

    problem: str
    right: Grid
    candidates: tuple[Candidate, ...]  # the first is the answer

    def solved(self, attempts: int) -> bool:
        """Whether the right grid is among the first so many candidates."""
        first = self.candidates[:attempts]
        return any(np.array_equal(candidate.answer, self.right) for candidate in first)


@dataclass(frozen=True)
class ArcScore:
    """The candidates for all unknown grids, and the steps that they took."""

    asked: tuple[VotedGrid, ...]
    copies: int
    mean_steps: float
    nonfinite: int = 0  # copies of a grid that NaN or infinity ended

    def exact(self, attempts: int = 2) -> float:
        """Share of the grids found with so many attempts; ARC allows two."""
        return float(np.mean([one.solved(attempts) for one in self.asked]))

    def problems_solved(self, attempts: int = 2) -> float:
        """Share of the problems for which every grid was found."""
        by_problem: dict[str, bool] = {}
        for one in self.asked:
            by_problem[one.problem] = by_problem.get(one.problem, True) and one.solved(attempts)
        return float(np.mean(list(by_problem.values())))


def evaluate_arc(
    runner: StepRunner,
    task: ArcTask,
    problems: Sequence[int] | None = None,
    *,
    copies: int | None = None,
    halt: str | float = "learned",
    batch_size: int | None = None,
) -> ArcScore:
    """Solves the unknown grids of ARC problems with `runner`, each in `copies` symmetries.

    problems: their indices in `task.problems`; None for all evaluation problems. copies: 1 for the
    problem without augmentation; None for all copies of the task.

    Raises UsageError for more copies than the task has, or other identifiers than it has.
    """
    wanted = task.copies if copies is None else copies
    refuse_votes(runner.contract, task, wanted)
    if problems is None:
        problems = [i for i, problem in enumerate(task.problems) if not problem.training]
    rows = [
        (number, place, copy)
        for number in problems
        for place in range(len(task.problems[number].asked))
        for copy in range(wanted)
    ]
    solution = solve(runner, _feeds(runner, task, rows), halt=halt, batch_size=batch_size)
    ballots = zip(rows, solution.answers, solution.q_halt.tolist(), strict=True)
    grids = [
        _tallied(task, key, [(row[2], tokens, q) for row, tokens, q in group])
        for key, group in itertools.groupby(ballots, key=lambda ballot: ballot[0][:2])
    ]
    return ArcScore(tuple(grids), wanted, float(solution.steps.mean()), solution.nonfinite)


def refuse_votes(
    contract: StepContract, task: ArcTask, copies: int, option: str = "copies"
) -> None:
    """UsageError for more copies than the task has, and for a model that does not know them."""
    if not 1 <= copies <= task.copies:
        raise UsageError(f"{task.name}: {option} must be 1 to {task.copies}, got {copies}.")
    known = contract.num_puzzle_identifiers
    if known is not None and not has_identifiers_of(task, known):
        raise UsageError(
            f"Votes ask every copy of a problem under an identifier of its own: {task.name} has "
            f"{task.num_puzzle_identifiers:,} with {task.copies} copies a problem, but the model "
            f"has {known:,}, so it was trained on other problems or copies; choose its own "
            "task, or evaluate without votes."
        )


def _feeds(
    runner: StepRunner, task: ArcTask, rows: Sequence[tuple[int, int, int]]
) -> dict[str, Any]:
    grids = (
        task.symmetry(number, copy).apply(task.problems[number].asked[place][0])
        for number, place, copy in rows
    )
    feeds = {"inputs": np.stack([encode(grid) for grid in grids])}
    if runner.contract.num_puzzle_identifiers is not None:
        numbers = [task.identifier(number, copy) for number, _, copy in rows]
        feeds["puzzle_identifiers"] = np.array(numbers, np.int32)
    return feeds


def _tallied(
    task: ArcTask, key: tuple[int, int], answers: list[tuple[int, npt.NDArray[np.int32], float]]
) -> VotedGrid:
    number, place = key
    back = []
    for copy, tokens, q_halt in answers:
        grid = decode(tokens)
        back.append((None if grid is None else task.symmetry(number, copy).undo(grid), q_halt))
    problem = task.problems[number]
    return VotedGrid(problem.name, problem.asked[place][1], tally(back))
