"""Numbers and flags that a caller gives, of Python or of NumPy. Standard library only."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

from trm_runtime.errors import UsageError
from trm_runtime.message_text import shown


def as_integer(value: Any) -> int | None:
    """An integer as an int; None for a bool and for anything else, 2.0 included."""
    if isinstance(value, bool) or str(getattr(value, "dtype", None)) == "bool":
        return None  # a flag of NumPy 1 is an index, too
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_real(value: Any) -> float | None:
    """A real number as a float, infinite above the largest; None for a bool and anything else."""
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    if not is_real:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def positive(name: str, value: Any) -> int:
    """An integer of 1 or more; UsageError for anything else."""
    number = as_integer(value)
    if number is None:
        raise UsageError(f"{name}: expected an integer, got {shown(value)}.")
    if number < 1:
        raise UsageError(f"{name}: expected 1 or more, got {shown(value)}.")
    return number


def whole(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least that; UsageError for anything else."""
    number = as_integer(value)
    if number is None or number < least:
        raise UsageError(f"{name} must be a whole number, {least} or more, got {shown(value)}.")
    return number


def check_flags(*or_none: str, **flags: object) -> None:
    """UsageError for the first of these that is neither True nor False, nor None where named."""
    for name, value in flags.items():
        if not isinstance(value, bool) and not (value is None and name in or_none):
            usual = "True, False or None" if name in or_none else "True or False"
            raise UsageError(f"{name}: expected {usual}, got {shown(value)}.")
