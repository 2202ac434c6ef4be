"""The one table of what an export must reach, by the precision its contract states.

Forced values are gated on every tensor of every step, integers and booleans always exactly. The
gates on answers and halting steps hold on *settled* puzzles (see `trm_runtime.parity`); those on
accuracy and mean steps hold on all. Tighten a number with a measurement, never loosen one
silently.
"""

from __future__ import annotations

from dataclasses import dataclass

from trm_runtime.errors import UsageError


@dataclass(frozen=True)
class Gates:
    """Limits of one precision; None: measured and reported, not judged."""

    relative_l2: float | None = None  # most, forced, a float tensor at a step
    cosine: float | None = None  # least, forced, a float tensor at a step
    answers: float | None = None  # least share of settled puzzles with an equal answer
    cells: float | None = None  # least share of equal cells over settled puzzles
    halting_steps: float | None = None  # least share of settled puzzles with an equal step
    near_ties_excused: bool = False  # count a near-tie as equal
    exact_drop: float | None = None  # most, share of all puzzles with labels
    mean_steps: float | None = None  # most, difference of the mean halting step over all puzzles
    carry_clipping: float | None = None  # most, share of carry values beyond the integer range


GATES = {
    "fp32": Gates(
        relative_l2=1e-4, answers=1.0, halting_steps=1.0, near_ties_excused=True, exact_drop=0.005
    ),
    "fp16": Gates(cosine=0.9999, cells=0.999, halting_steps=0.99, exact_drop=0.005),
    "int8": Gates(cosine=0.998, exact_drop=0.005, mean_steps=0.25),
    "int8-static": Gates(cosine=0.99, exact_drop=0.01, carry_clipping=0.001),
}


def gates_for(precision: str) -> Gates:
    """The gates of a contract's `precision`; UsageError for one without a row in the table."""
    if precision not in GATES:
        known = ", ".join(GATES)
        raise UsageError(f"no parity gates for precision {precision!r}; expected one of {known}")
    return GATES[precision]
