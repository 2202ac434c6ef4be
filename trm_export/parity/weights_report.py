"""Whether a file is its model in the precision that it states: the rung `weights` of the ladder.

It is exact in every precision, and separate from what the precision costs, which the rungs after it
measure. It needs the Keras model, so that a device does not have it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trm_runtime.message_text import counted
from trm_runtime.parity import ParityResult, Rung
from trm_runtime.parity.judge import stopped
from trm_runtime.parity.result import FAILED, NOT_JUDGED, OK, REPORTED, WEIGHTS

RENEWED = "a new export of the model with the same choices"
ROUNDED = "the model's weights, each within half a step"
NOTHING = "nothing"


@dataclass(frozen=True)
class WeightDistance:
    """One stored weight: how far it is from the model's, in steps of its own grid."""

    weight: str
    tensor: str
    dtype: str
    steps: float | None  # None for float32 values that differ


@dataclass(frozen=True)
class WeightsReport:
    """What the file stores against what its model and its precision say that it must store.

    Attributes:
        status: of the rung.
        precision: that the file states.
        compared_with: `RENEWED`, or `ROUNDED` for a file that this version would write differently;
            `NOTHING` where only the reason is known.
        tensors: stored tensors that an output depends on.
        operators: operators likewise.
        problems: every difference, a line each.
        unread: stored tensors that no output depends on, by name; they are not judged.
        inexact: constants that another processor computed, equal to six digits.
        weights: every stored weight, the farthest first.
        reason: why it is not judged, or only reported; empty otherwise.
    """

    status: str
    precision: str
    compared_with: str = RENEWED
    tensors: int = 0
    operators: int = 0
    problems: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()
    weights: tuple[WeightDistance, ...] = ()
    reason: str = ""

    @property
    def summary(self) -> str:
        """One sentence without a full stop."""
        if self.compared_with == NOTHING:
            return self.reason
        rounded = "" if self.precision == "fp32" else f" rounded to {self.precision}"
        if self.problems:
            what = counted(len(self.problems), "difference")
            text = f"the file is not the model{rounded}: {what}, {self.problems[0]}"
        else:
            text = f"the file is the model{rounded}: {self._compared}"
        return f"{text}; {self.reason}" if self.reason else text

    @property
    def _compared(self) -> str:
        if self.compared_with == ROUNDED:
            return f"{counted(len(self.weights), 'weight')} within half a step"
        tensors, operators = counted(self.tensors, "tensor"), counted(self.operators, "operator")
        return f"{tensors} and {operators} are those of a new export"

    @property
    def rung(self) -> Rung:
        """The rung."""
        return Rung(WEIGHTS, self.status, self.summary, self.problems)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return {**dataclasses.asdict(self), "summary": self.summary}


def with_weights(
    result: ParityResult, report: WeightsReport, measured: Rung | None = None
) -> ParityResult:
    """The result with the rung `weights`, and that of the export's errors, before the values.

    If the rung is ok, the file has the same weights, whatever checksum its contract records.
    """
    own = [report.rung, *([] if measured is None else [measured])]
    same = result.same_weights or report.status == OK
    return dataclasses.replace(with_own(result, own), same_weights=same)


def with_own(result: ParityResult, rungs: Sequence[Rung]) -> ParityResult:
    """The result with rungs about the file itself, after the contracts and before all others."""
    contracts, others = result.rungs[:3], result.rungs[3:]
    return dataclasses.replace(result, rungs=stopped([*contracts, *rungs, *others]))


def unusable(precision: str, reason: str) -> WeightsReport:
    """The report of a file with a document that shows nothing of it."""
    return WeightsReport(FAILED, precision, NOTHING, problems=(reason,), reason=reason)


def not_judged(precision: str, reason: str) -> WeightsReport:
    """A report that says only why there is none."""
    return WeightsReport(NOT_JUDGED, precision, NOTHING, reason=reason)


__all__ = [
    "FAILED",
    "NOTHING",
    "OK",
    "RENEWED",
    "REPORTED",
    "ROUNDED",
    "WeightDistance",
    "WeightsReport",
    "not_judged",
    "unusable",
    "with_own",
    "with_weights",
]  # fmt: skip
