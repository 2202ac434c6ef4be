"""Tune the halting threshold of an exported file on puzzles with solutions.

The file is run as on a device, once to the last step of every puzzle; the results of any threshold
are then read from that run. Needs no Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trm_export.halting.calibration import Answers, calibrate
from trm_export.halting.curve import (
    Point,
    Trace,
    candidates,
    choose,
    curve,
    latched,
    latched_steps,
    pareto,
    settled_curve,
)
from trm_export.halting.trying import last_outcome, least_sure, tries_curve
from trm_runtime.confidence import Confidence
from trm_runtime.contract import HaltRule, StepContract
from trm_runtime.errors import UsageError
from trm_runtime.parity.counts import mcnemar

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Settling:
    """The curves of the two rules that know how far the states moved, by its threshold.

    "both" also demands a score above the threshold that was chosen. Nothing is chosen, nor written
    into the file, where no threshold solves a puzzle.
    """

    settled: tuple[Point, ...]
    both: tuple[Point, ...]
    chosen: Point | None  # of `settled`
    chosen_both: Point | None  # of `both`, with the same threshold

    @property
    def fronts(self) -> dict[str, tuple[Point, ...]]:
        """The Pareto front of each, by the name of the rule."""
        return {"settled": pareto(self.settled), "both": pareto(self.both)}


@dataclass(frozen=True)
class Tuning:
    """The curve of one file on N puzzles, and the threshold chosen on it."""

    puzzles: int
    lose: float  # largest share of puzzles that the choice may lose against the best point
    points: tuple[Point, ...]  # by threshold
    front: tuple[Point, ...]  # their Pareto front, by steps
    present: Point  # the file as it is
    trained: Point  # the model's own threshold; the present one unless the file was tuned before
    all_steps: Point | None  # no puzzle halts early; None with several tries
    chosen: Point
    lost: int  # puzzles that only the present threshold answers right
    won: int  # puzzles that only the chosen one does
    p_value: float  # McNemar's exact test, two-sided
    settling: Settling | None = None  # None if it was not measured

    @property
    def changes(self) -> bool:
        """Whether another threshold than the present one was chosen."""
        return self.chosen != self.present

    @property
    def solves(self) -> bool:
        """Whether some threshold solves a puzzle; without one the present threshold stays."""
        return _solves(self.points)

    def tuned(self, rule: HaltRule) -> HaltRule:
        """The rule of the file with what was chosen."""
        found = rule.tuned(self.chosen.threshold)
        if self.settling is None or self.settling.chosen is None:
            return found
        return replace(found, settled=self.settling.chosen.threshold)

    def keeps(self, confidence: Confidence | None, tries: int) -> bool:
        """Whether it was fitted at the chosen threshold and this number of tries; True for none."""
        return confidence is None or (not self.changes and confidence.tries == tries)


def refuse_loop(contract: StepContract, name: str) -> None:
    """UsageError for a file that halts inside its graph."""
    if contract.granularity == "loop":
        raise UsageError(
            f"{name} has granularity loop: its threshold ({contract.halt.threshold:g}) is a "
            "constant of the graph and cannot be changed. Tune an export with granularity step, "
            "then export the loop again with that --halt-threshold."
        )


def tune(
    rule: HaltRule,
    trace: Trace,
    lose: float,
    more: Sequence[Trace] = (),
    prefer: str = "score",
) -> Tuning:
    """The curve, and the fewest steps that lose at most a share `lose` of exact answers.

    `rule` is that of the file; its threshold is a point of the curve and stays if no other is
    better, so that the choice is never worse both in accuracy and in steps, or if none solves a
    puzzle. `more` are the traces
    of tries after the first, see `run_tries`; `prefer` is `choose` of `solve`.
    """
    if not 0 <= lose <= 1:
        raise UsageError(f"The share of answers to lose must be 0 to 1, got {lose}.")
    scores, exact = trace.scores, trace.exact
    own = rule.untuned.threshold
    points = curve(scores, exact, {*candidates(scores), rule.threshold, own})
    if more:
        most = least_sure(trace, max(rule.threshold, own))
        useful = (point.threshold for point in points if point.threshold <= most)
        points = tries_curve((trace, *more), useful, prefer)
    by_threshold = {point.threshold: point for point in points}
    present, chosen = by_threshold[rule.threshold], choose(points, lose)
    same = (chosen.exact, chosen.mean_steps) == (present.exact, present.mean_steps)
    if same or not _solves(points):
        chosen = present
    before, after = (
        last_outcome((trace, *more), point.threshold, prefer).right for point in (present, chosen)
    )
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    return Tuning(
        puzzles=exact.shape[1],
        lose=lose,
        points=points,
        front=pareto(points),
        present=present,
        trained=by_threshold[own],
        all_steps=None if more else points[-1],
        chosen=chosen,
        lost=lost,
        won=won,
        p_value=mcnemar(lost, won),
        settling=None if trace.moved is None else _settling(rule, trace, chosen, lose),
    )


def _solves(points: Sequence[Point]) -> bool:
    return any(point.exact for point in points)


def calibrated(trace: Trace, threshold: float) -> Confidence:
    """The probability that the answer at the step of this threshold is right, from one try."""
    steps = latched_steps(trace.scores, threshold)
    moved = None if trace.moved is None else latched(trace.moved, steps)
    return calibrate(Answers(latched(trace.scores, steps), latched(trace.exact, steps), moved))


def _settling(rule: HaltRule, trace: Trace, learned: Point, lose: float) -> Settling:
    """The curves by movement, and the fewest steps that lose at most that against the best."""
    moved = np.asarray(trace.moved)
    own = () if rule.settled is None else (rule.settled,)
    settled = settled_curve(moved, trace.exact, own)
    if not settled:
        raise UsageError(
            "No threshold of movement can be chosen, because the states of this model never move "
            "from one step to the next in these puzzles; drop --settled."
        )
    also = [point.threshold for point in settled]
    both = settled_curve(moved, trace.exact, also, trace.scores > learned.threshold)
    if not _solves(settled):
        return Settling(settled, both, None, None)
    chosen = choose(settled, lose)
    same = next(point for point in both if point.threshold == chosen.threshold)
    return Settling(settled, both, chosen, same)
