"""The result of a comparison: the ladder, its numbers, and a verdict in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import trm_runtime
from trm_runtime.display import Shown, Table
from trm_runtime.message_text import counted, rows_text
from trm_runtime.parity.chunk_measure import WorsePuzzles
from trm_runtime.parity.contracts import OTHER_MODEL
from trm_runtime.parity.decisions import Decisions
from trm_runtime.parity.drift import Growth, StepSizes
from trm_runtime.parity.gaps import TensorDiff
from trm_runtime.parity.gates import Gates
from trm_runtime.parity.outcomes import Accuracy, Halting

OK, FAILED, REPORTED, NOT_JUDGED = "ok", "failed", "reported", "not judged"
WEIGHTS = "weights"  # a rung of a host, what the file stores; or checksums that contracts record
ENGINE = "engine"  # the rung of a host: the file against itself


@dataclass(frozen=True)
class Rung:
    """One rung of the ladder.

    `status` is OK, FAILED, REPORTED (measured, but no gate of this precision applies) or NOT_JUDGED
    (an earlier rung failed, or it cannot be judged on these puzzles).
    """

    name: str
    status: str
    summary: str  # the main number, or the reason why there is none
    problems: tuple[str, ...] = ()  # what failed
    unlisted: int = 0  # number of further problems
    needed: int | None = None  # puzzles to compare, where a single one of so few fails the gate


def any_judged(rungs: Iterable[tuple[str, str]]) -> bool:
    """Whether a gate applied to anything that a candidate computes; (name, status) of all rungs."""
    values = (status for name, status in list(rungs)[3:] if name not in (WEIGHTS, ENGINE))
    return any(status in (OK, FAILED) for status in values)


def steps_passed(rungs: Iterable[tuple[str, str]]) -> bool:
    """Whether single steps are within gates of theirs; (name, status) of all rungs."""
    return ("forced values", OK) in rungs


def decided(rungs: Collection[tuple[str, str]], settled: int | None) -> bool:
    """Whether gates applied; (name, status) of all rungs, and how many puzzles are settled.

    Where none is settled, to single steps: the few gates of answers that then apply do not decide.
    """
    return any_judged(rungs) and (settled != 0 or steps_passed(rungs))


@dataclass(frozen=True, repr=False)
class ParityResult(Shown):
    """A comparison of two runners; truthy when no rung failed.

    All measurements are here, judged or not; they are empty or None if the contracts differ.
    """

    precision: str  # of the candidate
    gates: Gates
    puzzles: int
    followed: int  # of the puzzles, those compared value by value, to the last step
    refilled_slots: int  # extra rows whose puzzle changes between steps, forced only
    rungs: tuple[Rung, ...]
    forced: tuple[TensorDiff, ...] = ()  # by step, integers before floats
    forced_steps: tuple[StepSizes, ...] = ()  # of the followed puzzles, here and below
    free: tuple[StepSizes, ...] = ()
    floor: tuple[StepSizes, ...] = ()  # of the reference's control, if it has one
    growth: dict[str, dict[str, Growth | None]] | None = None  # of the free drift, per step
    above_floor: dict[str, int | None] | None = None  # first step far above the control's drift
    decisions: Decisions | None = None
    halting: Halting | None = None
    accuracy: Accuracy | None = None
    stories: WorsePuzzles | None = None  # boards of some lost puzzles
    same_weights: bool = True  # by the checksums in the contracts, or what the file stores
    kind: str = "puzzles"  # the kind of rows

    @property
    def summary(self) -> str:
        """The candidate and the verdict."""
        on = f" on {rows_text(self.puzzles, self.kind)}" if self.ran else ""
        return f"{self.precision}{on}. {self.verdict}"

    def tables(self) -> tuple[Table, ...]:
        """The ladder."""
        rows = [(rung.name, rung.status, rung.summary) for rung in self.rungs]
        heads = ("rung", "status", "summary")
        return (Table(self.summary, rows, heads, heads),)

    @property
    def broken(self) -> Rung | None:
        """The rung that failed, if any."""
        return next((rung for rung in self.rungs if rung.status == FAILED), None)

    @property
    def ran(self) -> bool:
        """Whether the candidate was run; it is not where the contracts differ."""
        return bool(self.forced) or self.decisions is not None

    @property
    def passed(self) -> bool:
        """Whether no rung failed."""
        return self.broken is None

    def __bool__(self) -> bool:
        return self.passed

    @property
    def forced_error(self) -> float | None:
        """The largest forced relative L2 of any float tensor and step; None without any."""
        errors = [e.relative_l2 for e in self.forced if e.dtype == "float32"]
        return max(errors, default=None)

    @property
    def first_divergence(self) -> TensorDiff | None:
        """The first forced tensor, by step, that fails its gate."""
        return next((error for error in self.forced if error.problem(self.gates)), None)

    @property
    def verdict(self) -> str:
        """The result in one or two sentences."""
        if self.broken is not None:
            where = f"at {self.broken.name}: {self.broken.summary}."
            if self.same_weights or self.of_other_model:
                return f"FAILED {where}"
            return f"FAILED: made from other weights than the reference, which shows {where}"
        return f"{self._passed()}{self._hint()}"

    @property
    def of_other_model(self) -> bool:
        """Whether the file is of a model with other sizes; no new export replaces that."""
        return any(p.startswith(OTHER_MODEL) for p in self.rungs[0].problems)

    @property
    def judged(self) -> bool:
        """Whether a gate applied to anything that the candidate computes."""
        return any_judged((rung.name, rung.status) for rung in self.rungs)

    def _passed(self) -> str:
        d, rows = self.decisions, rows_text(self.puzzles, self.kind)
        stepwise = steps_passed((rung.name, rung.status) for rung in self.rungs)
        what = "every single step" if stepwise else "names, dtypes and shapes"
        if d is None and stepwise and (few := self._few_steps()):
            slots = counted(self.refilled_slots, "refilled slot")
            return f"PASSED: {few} of {rows} and of {slots} are within the gates."
        if d is None and stepwise:
            return f"PASSED: {what} of {rows} is within the gates."
        if d is not None and d.settled == 0:
            steps = any(r.name == "halting steps" and r.status == OK for r in self.rungs)
            unknown = "answers" if steps else "answers and halting steps"  # the mean may be judged
            return (
                f"PASSED on {what}, but the reference settles none of {rows}, so {unknown} could "
                "not be judged."
            )
        if d is None or not self.judged:
            return f"PASSED on {what}, but there is no gate for its values on {rows}."
        return (
            f"PASSED on {rows}. The reference settles {d.settled} of them, on which "
            f"{counted(d.answers_equal, 'answer')} and {counted(d.steps_equal, 'halting step')} "
            "are equal."
        )

    def _few_steps(self) -> str:
        """The steps that were compared, if they are not all up to the last; see `few_steps`."""
        steps = sorted({error.step for error in self.forced})
        if steps == list(range(1, len(steps) + 1)):
            return ""
        *first, last = map(str, steps)
        return f"steps {', '.join(first) if len(first) < 3 else f'1 to {first[-1]}'} and {last}"

    def _hint(self) -> str:
        if self.same_weights:
            return ""
        return " The file has other weights than the reference; export its model again."

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types, infinities and NaN apart."""
        head = {"tool": f"trm-runtime {trm_runtime.__version__}", "kind": "parity"}
        verdict = {"passed": self.passed, "verdict": self.verdict}
        first = self.first_divergence
        derived = {
            "forced_error": self.forced_error,
            "first_divergence": None if first is None else asdict(first),
        }
        return {**asdict(self), "rows": self.kind, **head, **verdict, **derived}
