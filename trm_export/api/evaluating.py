"""`evaluate`: the accuracy of a model or an exported file on test puzzles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trm_export.api.arguments import (
    ModelLike,
    Progress,
    again_of,
    count_or_none,
    counts_of,
    file_of,
    reporter,
    stem_of,
)
from trm_export.api.judging import refuse_judge, rules_of, with_solutions
from trm_export.api.loading import as_step_model, refuse_model
from trm_export.api.model_source import refuse_facts
from trm_export.api.voting import board_of, figures_of, refuse_unused
from trm_export.errors import NonfiniteError, UsageError
from trm_export.halting.calibration import Calibration, coverage_table, judged
from trm_export.step.model_facts import ModelHints, given_hints
from trm_export.tasks import ArcTask, Blanks, PuzzleSet
from trm_export.tasks.selection import PuzzleSource, boards_of, refuse_puzzles, select_puzzles
from trm_export.tasks.task import Boards
from trm_export.tasks.tokens import TokenBoards
from trm_export.tasks.voting import evaluate_arc, refuse_votes
from trm_runtime.certainty import check_abstain, rule_for
from trm_runtime.display import Shown, Table
from trm_runtime.json_values import json_object
from trm_runtime.loop import solve
from trm_runtime.message_text import counted
from trm_runtime.open import open_runner, runner_contract
from trm_runtime.parity.counts import wilson
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

if TYPE_CHECKING:
    from trm_runtime.contract import StepContract
    from trm_runtime.parity.outcomes import Valid
    from trm_runtime.runner import StepRunner
    from trm_runtime.solution import Solution, StepEvent

__all__ = ["Board", "Boards", "Evaluation", "evaluate"]

Array = np.ndarray[Any, Any]
_KERAS = ".keras"
_RIGHT = "right"  # begins the title of a board


class Board(NamedTuple):
    """One puzzle and its answer."""

    inputs: Array  # (S,) int32 tokens
    answer: Array  # (S,) int32 tokens
    title: str


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """The accuracy on some puzzles; falsy where NaN or infinity ended one.

    Attributes:
        model: the path of the file, or the name of a model in memory.
        task: the task of the puzzles; for a model of no known task its token ids.
        figures: counts and shares by name, as in the JSON document.
        boards: the puzzles in order, or with votes the grids.
        rows: the kind of puzzles.
        judge: `exact` or `valid`; `interval_95` is that of the share of answers that are so.
        calibration: how well the confidence of the answers holds; None without `abstain`.
    """

    model: str
    task: Boards
    figures: dict[str, Any]
    boards: tuple[Board, ...]
    rows: str = "puzzles"
    judge: str = "exact"
    calibration: Calibration | None = None

    def __bool__(self) -> bool:
        return self.nonfinite is None

    @property
    def nonfinite(self) -> NonfiniteError | None:
        """The error if NaN or infinity ended a puzzle, or a copy of a grid."""
        figures = self.figures
        rows = figures["puzzles"] if "puzzles" in figures else figures["grids"] * figures["copies"]
        bad = figures["nonfinite"]
        return NonfiniteError(self.model, bad, rows) if bad else None

    def to_json(self) -> dict[str, Any]:
        """The model, its task and the figures, in JSON types."""
        named = {"model": self.model, "task": self.task.name, "rows": self.rows}
        held = {} if self.calibration is None else {"calibration": self.calibration}
        return json_object({**named, "judge": self.judge, **self.figures, **held})

    @property
    def summary(self) -> str:
        """The first few figures."""
        figures = ", ".join(f"{name} {text}" for name, text in self._rows()[:5])
        return f"{self._title}: {figures}"

    def tables(self) -> tuple[Table, ...]:
        """All figures."""
        found = Table(self._title, self._rows())
        held = self.calibration
        if held is None:
            return (found,)
        low, high = held.interval
        title = (
            f"Wrong answers among the most confident: Brier score {held.brier:.4f} ({low:.4f} to "
            f"{high:.4f}), calibration error {held.error:.4f}"
        )
        return found, coverage_table(held, title)

    @property
    def _title(self) -> str:
        _, comma, note = self.rows.partition(", ")
        return f"{Path(self.model).name} on {self.task.name}{comma}{note}"

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, _text(name, value)) for name, value in self.figures.items()]


def _text(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{part:.2%}" for part in value)
    if isinstance(value, int) or name == "abstain":
        return str(value)
    return f"{value:.2f}" if name.startswith("mean_") else f"{value:.2%}"


def evaluate(
    model: ModelLike,
    *,
    task: str | None = None,
    puzzles: PuzzleSource | None = None,
    blanks: Blanks | str | None = None,
    count: int = 200,
    vote: int | None = None,
    judge: str = "exact",
    tries: int = 1,
    vary: str = VARY[0],
    choose: str = CHOOSE[0],
    seed: int = 0,
    sigma: float = SIGMA,
    abstain: float | None = None,
    engine: str | None = None,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure the accuracy of a model or an exported file on test puzzles.

    Args:
        model: see `ModelLike`, or an exported file.
        task: name of the task of the model's tokens; the one that fits the model if not given.
        puzzles: see `PuzzleSource`, with solutions; shipped test puzzles if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        count: how many puzzles, or ARC problems, at most.
        vote: ARC: solve every grid of the test problems in so many symmetries, and vote on the
            answers. Arguments that have no effect then are refused: puzzles, blanks, judge, abstain
            and those of tries.
        judge: `exact` compares answers with solutions; `valid` checks them by the rules of the
            task, and needs none.
        tries, vary, choose, seed, sigma: see `trm_runtime.solve`. For ARC without own puzzles,
            votes of several tries are the same as `vote`.
        abstain: answers of a lower confidence are not given; the risk of the others is measured,
            and how well the confidence of all answers holds. See `trm_runtime.solve`.
        engine: an exported file's, such as `openvino:bf16`; see `open_runner`.
        trust: packages whose code may run.
        hints: what the model does not state itself.
        progress: called with the share done, and what is being done.

    Raises:
        UsageError: an unknown value, options that contradict each other, puzzles without
            solutions, or no task that fits.
        RejectedInputError: the model or the puzzles cannot be used.
    """
    count, tries = counts_of(count=count, tries=tries)
    vote = count_or_none("vote", vote)
    abstain = None if abstain is None else check_abstain(abstain)
    again = again_of(tries, vary, choose, seed, sigma)
    refuse_judge(judge)
    if vote is not None:
        refuse_unused(
            "--vote", puzzles=puzzles, blanks=blanks, judge=judge, abstain=abstain, **again
        )
    refuse_puzzles(puzzles, task, blanks)
    given = given_hints(hints)
    tell = reporter(progress)
    given = given if task is None else replace(given, task=task)
    contract, opened = _opened(model, trust, given, engine)
    found, name = boards_of(contract, task), str(file_of(model) or stem_of(model))
    option, votes = "--tries" if vote is None else "--vote", tries > 1 and choose == "vote"
    if votes and isinstance(found, ArcTask) and puzzles is None and abstain is None:
        vote, unused = tries, {name: again[name] for name in ("vary", "seed", "sigma")}
        refuse_unused("--choose vote", blanks=blanks, judge=judge, **unused)
    if vote is None:
        valid = rules_of(found, judge)
        selected = select_puzzles(contract, puzzles, task, blanks, count)
        chosen = with_solutions(selected, puzzles, judge, found)
        sure = rule_for(contract, abstain)
        again = again if sure is None else {**again, "abstain": 0.0}
        solution = _solution(opened(), chosen, again, tell)
        figures, boards = _judged(found, chosen, solution, valid, judge)
        if sure is None:
            return Evaluation(name, found, figures, boards, chosen.kind, judge)
        right = np.array([board.title.startswith(_RIGHT) for board in boards])
        confidence = np.asarray(solution.confidence)
        answered = confidence >= np.float32(abstain or 0.0)
        figures = {**figures, "abstain": abstain, **_risk(answered, right)}
        held = judged(confidence, right)
        return Evaluation(name, found, figures, boards, chosen.kind, judge, held)
    if not isinstance(found, ArcTask):
        raise UsageError(f"--vote needs an ARC task, got {found.name}; drop --vote.")
    refuse_votes(contract, found, vote, option)
    problems = found.unseen("test")[:count]
    tell(0.0, "Solving")
    score = evaluate_arc(opened(), found, problems, copies=vote)
    grids = tuple(Board(*board_of(one)) for one in score.asked)
    return Evaluation(name, found, figures_of(score, len(problems)), grids)


def _opened(
    model: ModelLike, trust: Sequence[str], hints: ModelHints, engine: str | None
) -> tuple[StepContract, Callable[[], StepRunner]]:
    """A model, which the hints describe, or an exported file, which describes itself.

    No engine is loaded before the second part is called.
    """
    file = file_of(model)
    if file is not None and file.suffix != _KERAS:
        contract = runner_contract(file, engine)
        refuse_facts(file, trust, hints)
        return contract, partial(open_runner, file, engine=engine)
    if engine is not None:
        raise UsageError("--engine is for an exported file; drop it.")
    refuse_model(model, trust)
    adapted = as_step_model(model, trust, hints, any_backend=True)
    from trm_export.step.keras_runner import KerasRunner

    runner = KerasRunner(adapted)
    return runner.contract, lambda: runner


def _solution(
    runner: StepRunner, puzzles: PuzzleSet, again: dict[str, Any], tell: Progress
) -> Solution:
    done = 0

    def count_up(event: StepEvent) -> None:
        nonlocal done
        done += int(event.finished.sum())
        tell(done / len(puzzles), "Solving")

    feeds = puzzles.feeds(runner.contract.num_puzzle_identifiers)
    return solve(runner, feeds, on_step=count_up, **again)


def _judged(
    task: Boards, puzzles: PuzzleSet, solution: Solution, rules: Valid | None, judge: str
) -> tuple[dict[str, Any], tuple[Board, ...]]:
    inputs, answers, labels = puzzles.inputs, solution.answers, puzzles.labels
    checks = task.check(inputs, answers, answers if labels is None else labels)
    right = checks.valid if judge == "valid" else checks.exact
    hits, n, different = int(right.sum()), len(puzzles), _different(puzzles)
    shares = {
        **({} if labels is None else {"exact": float(checks.exact.mean())}),
        **({} if isinstance(task, TokenBoards) else {"valid": float(checks.valid.mean())}),
    }
    figures = {
        "puzzles": n,
        **({} if different == n else {"different_puzzles": different}),
        judge: shares.pop(judge),
        "interval_95": wilson(hits * different / n, different),
        **shares,
        **({} if labels is None else {"cells": float(checks.cell_accuracy.mean())}),
        **({} if rules is None else {"several_solutions": int(task.ambiguous(inputs).sum())}),
        "mean_steps": solution.mean_steps,
        **({} if solution.tries is None else {"mean_tries": float(solution.tries.mean())}),
        "nonfinite": solution.nonfinite,
    }
    verdicts = zip(right.tolist(), solution.steps.tolist(), strict=True)
    titles = [
        f"{_RIGHT if right else 'wrong'}, {counted(steps, 'step')}" for right, steps in verdicts
    ]
    boards = zip(puzzles.inputs, solution.answers, titles, strict=True)
    return figures, tuple(Board(*board) for board in boards)


def _different(puzzles: PuzzleSet) -> int:
    """How many puzzles there are without those that occur more than once."""
    identifiers = puzzles.identifiers
    columns = [puzzles.inputs] if identifiers is None else [puzzles.inputs, identifiers[:, None]]
    return len(np.unique(np.concatenate(columns, axis=1), axis=0))


def _risk(answered: Array, right: Array) -> dict[str, Any]:
    """How many puzzles have an answer, and the share of wrong ones among these."""
    count, wrong = int(answered.sum()), int((answered & ~right).sum())
    share = {"risk": wrong / count, "risk_interval_95": wilson(wrong, count)} if count else {}
    return {"answered": count, "wrong": wrong, "coverage": count / len(right), **share}
