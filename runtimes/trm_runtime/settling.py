"""How far the states of each row moved in a step. Knows numpy and the contract's carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.contract_rules import HALTED, required_carry
from trm_runtime.errors import UsageError
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_real

Array = np.ndarray[Any, Any]


def own_states(contract: StepContract) -> list[str]:
    """The model's own float32 carry, in the order of the contract."""
    always = required_carry(contract.granularity, [spec.name for spec in contract.inputs])
    return [s.name for s in contract.carry if s.dtype == "float32" and s.name not in always]


def refuse_no_states(contract: StepContract) -> None:
    """UsageError for a model whose states no driver sees."""
    if not own_states(contract):
        raise UsageError(
            "This model has no float32 states between its steps, so how far they move is not "
            "known; export it with granularity step."
        )


def settled_threshold(contract: StepContract, given: float | None, needed: bool) -> float | None:
    """The movement below which a puzzle is done, given or the contract's; None if not needed.

    UsageError for a wrong one, one that is missing, or a model whose states are not seen.
    """
    own = as_real(given)
    if given is not None and (own is None or not 0 < own < math.inf):
        raise UsageError(f"settled: expected a finite number above 0, got {shown(given)}.")
    if needed or given is not None:
        refuse_no_states(contract)
    threshold = contract.halt.settled if given is None else own
    if needed and threshold is None:
        raise UsageError(
            "The contract of this model has no threshold for how far its states move; give "
            "settled, or write one into the file with `trm-export tune --settled`."
        )
    return threshold if needed else None


def moved(contract: StepContract, before: Mapping[str, Array], after: Mapping[str, Array]) -> Array:
    """(B,) float32: the L2 norm of a step's change of all own states over that of the new ones.

    `before` and `after` are the carry (B, ...) that entered and left the step. Infinity for a row
    that was reset, whose states before are not known, and for one whose new states are all 0.
    Differences are float32, sums float64.
    """
    rows = len(before[HALTED])
    change, size = np.zeros(rows), np.zeros(rows)
    for name in own_states(contract):
        new = after[name].reshape(rows, -1)
        change += _squares(new - before[name].reshape(rows, -1))
        size += _squares(new)
    known = (size > 0) & ~np.asarray(before[HALTED], dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.sqrt(change) / np.sqrt(np.where(known, size, 1.0))
        return np.where(known, ratio, np.inf).astype(np.float32)


def _squares(rows: Array) -> Array:
    """(B,) float64: the sum of the squares of each row (B, n)."""
    sums: Array = np.square(rows, dtype=np.float64).sum(axis=1)
    return sums
