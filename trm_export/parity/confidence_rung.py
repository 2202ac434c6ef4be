"""The rung `confidence`: how sure a file and its model are, and how well that holds; not judged.

Both run every puzzle once to the last step, so that the curves of all halt rules come from the same
run. Their confidence is by the coefficients in the contract of the file; without any it is the
sigmoid of the score, which is not fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.errors import TRMError, reason_of
from trm_export.halting.calibration import Calibration, judged
from trm_export.halting.curve import Point, Trace, latched, latched_steps
from trm_export.halting.trying import run_all_steps
from trm_export.halting.tuning import tune
from trm_export.tasks import PuzzleSet
from trm_runtime.certainty import confidence_of
from trm_runtime.confidence import Confidence
from trm_runtime.contract import HaltRule
from trm_runtime.open import open_runner
from trm_runtime.parity import Golden, Rung
from trm_runtime.parity.result import NOT_JUDGED, REPORTED
from trm_runtime.runner import StepRunner
from trm_runtime.settling import own_states

CONFIDENCE = "confidence"

Array = np.ndarray[Any, Any]

_SIGMOID = Confidence(bias=0.0, score=1.0, moved=0.0, agreement=0.0, puzzles=1, tries=1)


@dataclass(frozen=True)
class Side:
    """The answers of one side, at the steps of its own halt rule."""

    exact: float  # share of all answers
    answered: int  # those that are confident enough
    wrong: int  # of these
    calibration: Calibration


@dataclass(frozen=True)
class ConfidenceReport:
    """A file beside its model, and the front of accuracy against mean steps of each halt rule."""

    abstain: float  # an answer of a lower confidence is not given
    fitted: bool  # whether the contract of the file has coefficients
    file: Side
    model: Side | None  # None where only a recording is known
    one_side: int | None  # puzzles that one side alone answers
    rules: dict[str, tuple[Point, ...]]  # of the file, by the name of the rule


@dataclass(frozen=True)
class Traced:
    """One side's run to the last step, and its halt rule."""

    trace: Trace
    rule: HaltRule

    def sides(self, rule: Confidence, abstain: float) -> tuple[Side, Array]:
        """The side, and (N,) bool which puzzles it answers."""
        steps = latched_steps(self.trace.scores, self.rule.threshold)
        right = latched(self.trace.exact, steps)
        moved = None if self.trace.moved is None else latched(self.trace.moved, steps)
        score = latched(self.trace.scores, steps)
        score = np.where(np.isposinf(score), np.float32(np.nan), score)  # NaN ended the puzzle
        sure = confidence_of(rule, score, moved)
        answered = sure >= np.float32(abstain)
        wrong = int((answered & ~right).sum())
        found = Side(float(right.mean()), int(answered.sum()), wrong, judged(sure, right))
        return found, answered


def traced(golden: Golden, runner: StepRunner) -> Traced:
    """The puzzles of a recording, to the last step of each; UsageError without solutions."""
    tokens = {
        name: np.concatenate([chunk.tokens[name] for chunk in golden.chunks])
        for name in golden.chunks[0].tokens
    }
    found = [chunk.labels for chunk in golden.chunks if chunk.labels is not None]
    labels = np.concatenate(found) if len(found) == len(golden.chunks) else None
    puzzles = replace(PuzzleSet.of_tokens(tokens), labels=labels)
    measured = bool(own_states(runner.contract))
    return Traced(run_all_steps(runner, puzzles, measured=measured), runner.contract.halt)


def confidence_rung(
    path: Path,
    golden: Golden,
    model: Traced | None,
    abstain: float,
    threads: int | None,
    engine: str | None = None,
) -> tuple[Rung, ConfidenceReport | None]:
    """The rung of a file and its figures, beside those of the model if it was run."""
    try:
        runner = open_runner(path, threads, engine=engine)
        own = traced(golden, runner)
    except TRMError as error:
        return Rung(CONFIDENCE, NOT_JUDGED, reason_of(error)), None
    report = confidence_report(own, model, runner.contract.confidence, abstain)
    return Rung(CONFIDENCE, REPORTED, _summary(report)), report


def confidence_report(
    own: Traced, model: Traced | None, rule: Confidence | None, abstain: float
) -> ConfidenceReport:
    """The figures of a file beside its model, both by these coefficients."""
    file, answered = own.sides(rule or _SIGMOID, abstain)
    other = None if model is None else model.sides(rule or _SIGMOID, abstain)
    return ConfidenceReport(
        abstain=abstain,
        fitted=rule is not None,
        file=file,
        model=None if other is None else other[0],
        one_side=None if other is None else int((answered != other[1]).sum()),
        rules=_rules(own),
    )


def _rules(own: Traced) -> dict[str, tuple[Point, ...]]:
    found = tune(own.rule, own.trace, 0.0)
    others = {} if found.settling is None else found.settling.fronts
    return {"learned": found.front, **others}


def _summary(report: ConfidenceReport) -> str:
    """Model and file, in this order, if the model was run."""
    sides = [side for side in (report.model, report.file) if side is not None]
    brier = " and ".join(f"{side.calibration.brier:.4f}" for side in sides)
    error = " and ".join(f"{side.calibration.error:.4f}" for side in sides)
    answered = " and ".join(f"{side.answered} ({side.wrong} wrong)" for side in sides)
    alone = "" if report.one_side is None else f", {report.one_side} by one side alone"
    fitted = "" if report.fitted else "not fitted, "
    return (
        f"{fitted}Brier score {brier}, calibration error {error}; at {report.abstain:g} "
        f"answered {answered}{alone}"
    )
