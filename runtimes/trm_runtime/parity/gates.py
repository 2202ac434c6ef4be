"""The only table of limits for exports, by the precision of the contract.

That of a runner is the file's, or what its engine computes it in by choice, such as bf16.

Forced values are gated for every tensor of every step, integers and booleans exactly; only a
`halted` that its own score explains is left out in lossy precisions (see `Gaps.error`). The gates
on answers and halting steps apply to *settled* puzzles (see `trm_runtime.parity`); those on
accuracy and mean steps apply to all. A change of a number needs a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError, UsageError, unreadable
from trm_runtime.regular_file import read_regular
from trm_runtime.strict_json import LARGEST, parse


@dataclass(frozen=True)
class Gates:
    """Limits of one precision; None: measured and reported, not judged."""

    relative_l2: float | None = None  # maximum, forced, of a float tensor at a step
    cosine: float | None = None  # minimum, forced, of a float tensor at a step
    answers: float | None = None  # minimum share of settled puzzles with an equal answer
    cells: float | None = None  # minimum share of equal cells over settled puzzles
    halting_steps: float | None = None  # minimum share of settled puzzles with an equal step
    near_ties_excused: bool = False  # count a near-tie as equal
    exact_drop: float | None = None  # maximum, share of all puzzles with labels
    mean_steps: float | None = None  # maximum difference of the mean halting step, all puzzles
    carry_clipping: float | None = None  # maximum share of carry values beyond the integer range


_SHARES = ("cosine", "answers", "cells", "halting_steps", "exact_drop", "carry_clipping")

GATES = {
    "fp32": Gates(
        relative_l2=1e-4, answers=1.0, halting_steps=1.0, near_ties_excused=True, exact_drop=0.005
    ),
    "fp16": Gates(cosine=0.9999, cells=0.999, halting_steps=0.99, exact_drop=0.005),
    "bf16": Gates(cosine=0.9998, exact_drop=0.005, mean_steps=0.1),
    "int8": Gates(cosine=0.998, exact_drop=0.005, mean_steps=0.25),
    "int8-static": Gates(cosine=0.99, exact_drop=0.01, carry_clipping=0.001),
    "int4": Gates(cosine=0.98, exact_drop=0.01, mean_steps=0.5),
}


def is_integer(precision: str) -> bool:
    """Whether weights of a `precision` are rounded to integers."""
    return precision.startswith("int")


def gates_for(precision: str, *, tuned: bool = False) -> Gates:
    """The gates of a contract's `precision`; UsageError for one without a row in the table.

    A `tuned` file halts by another threshold than its model, so its halting steps and answers are
    only reported. Its single steps and its accuracy are judged.
    """
    if precision not in GATES:
        known = ", ".join(GATES)
        raise UsageError(
            f"There are no parity gates for precision {precision!r}; use one of {known}."
        )
    gates = GATES[precision]
    if not tuned:
        return gates
    return replace(gates, answers=None, cells=None, halting_steps=None, mean_steps=None)


def gates_of(contract: StepContract) -> Gates:
    """The gates of an exported file, by its contract."""
    return gates_for(contract.precision, tuned=contract.halt.trained is not None)


def read_gates(path: str | Path) -> Gates:
    """The user's own gates: a JSON object with fields of `Gates`; missing fields are not judged.

    `{"based_on": "int8", ...}` starts from a row of the table instead. Raises RejectedInputError,
    listing every problem.
    """
    try:
        given = parse(read_regular(path))
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise RejectedInputError(f"{path}: not valid JSON: {error}.") from error
    if not isinstance(given, dict):
        raise RejectedInputError(f"{path}: expected a JSON object of gates.")
    base = given.pop("based_on", None)
    if base is not None and not (isinstance(base, str) and base in GATES):
        known = ", ".join(GATES)
        raise RejectedInputError(f"{path}: based_on is {base!r}; expected one of {known}.")
    if not given and base is None:
        raise RejectedInputError(f"{path}: has no gates, so nothing would be judged; add one.")
    problems = [text for name, value in given.items() if (text := _problem(name, value))]
    if problems:
        raise RejectedInputError(f"{path}: these gates cannot be used:", problems)
    return replace(GATES[base] if base else Gates(), **given)


def _problem(name: str, value: Any) -> str | None:
    known = [field.name for field in fields(Gates)]
    if name not in known:
        return f"{name}: unknown; expected one of {', '.join(known)}"
    if name == "near_ties_excused":
        return None if isinstance(value, bool) else f"{name}: expected true or false, got {value!r}"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and 0 <= value <= LARGEST):
        return f"{name}: expected a number, 0 or more, or null, got {value!r}"
    if value is not None and name in _SHARES and value > 1:
        return f"{name}: expected a share or a cosine, at most 1, got {value!r}"
    return None
