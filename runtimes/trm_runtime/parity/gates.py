"""The one table of what an export must reach, by the precision its contract states.

Forced values are gated on every tensor of every step, integers and booleans always exactly. The
gates on answers and halting steps hold on *settled* puzzles (see `trm_runtime.parity`); those on
accuracy and mean steps hold on all. Tighten a number with a measurement, never loosen one
silently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.strict_json import parse


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


_SHARES = ("cosine", "answers", "cells", "halting_steps", "exact_drop", "carry_clipping")

GATES = {
    "fp32": Gates(
        relative_l2=1e-4, answers=1.0, halting_steps=1.0, near_ties_excused=True, exact_drop=0.005
    ),
    "fp16": Gates(cosine=0.9999, cells=0.999, halting_steps=0.99, exact_drop=0.005),
    "int8": Gates(cosine=0.998, exact_drop=0.005, mean_steps=0.25),
    "int8-static": Gates(cosine=0.99, exact_drop=0.01, carry_clipping=0.001),
}


def gates_for(precision: str, *, tuned: bool = False) -> Gates:
    """The gates of a contract's `precision`; UsageError for one without a row in the table.

    A `tuned` file halts by a threshold of its own: at which steps, and so with which answers, is
    reported. Its steps and its accuracy are judged as ever.
    """
    if precision not in GATES:
        known = ", ".join(GATES)
        raise UsageError(f"no parity gates for precision {precision!r}; expected one of {known}")
    gates = GATES[precision]
    if not tuned:
        return gates
    return replace(gates, answers=None, cells=None, halting_steps=None, mean_steps=None)


def gates_of(contract: StepContract) -> Gates:
    """The gates of an exported file, by its contract."""
    return gates_for(contract.precision, tuned=contract.halt.trained is not None)


def read_gates(path: str | Path) -> Gates:
    """Gates of one's own: a JSON object with fields of `Gates`; what is not named is not judged.

    `{"based_on": "int8", ...}` starts from a row of the table instead. Raises RejectedInputError,
    listing every problem.
    """
    try:
        found = parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RejectedInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RejectedInputError(f"{path}: is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise RejectedInputError(f"{path}: expected a JSON object of gates")
    base = found.pop("based_on", None)
    if base is not None and not (isinstance(base, str) and base in GATES):
        known = ", ".join(GATES)
        raise RejectedInputError(f"{path}: based_on is {base!r}; expected one of {known}")
    if not found and base is None:
        raise RejectedInputError(f"{path}: names no gate, so that nothing would be judged")
    problems = [text for name, value in found.items() if (text := _problem(name, value))]
    if problems:
        raise RejectedInputError(f"{path}: these gates cannot be used:", problems)
    return replace(GATES[base] if base else Gates(), **found)


def _problem(name: str, value: Any) -> str | None:
    known = [field.name for field in fields(Gates)]
    if name not in known:
        return f"{name}: unknown; expected one of {', '.join(known)}"
    if name == "near_ties_excused":
        return None if isinstance(value, bool) else f"{name}: expected true or false, got {value!r}"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and math.isfinite(value) and value >= 0):
        return f"{name}: expected a number, 0 or more, or null, got {value!r}"
    if value is not None and name in _SHARES and value > 1:
        return f"{name}: is a share or a cosine, so expected at most 1, got {value!r}"
    return None
