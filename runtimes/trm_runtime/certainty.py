"""The probability that an answer is right, by the coefficients of a contract. Knows numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from trm_runtime.confidence import Confidence
from trm_runtime.contract import StepContract
from trm_runtime.errors import UsageError
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_real
from trm_runtime.settling import refuse_no_states

Array = np.ndarray[Any, Any]

_LARGEST_SCORE = 100.0  # logits
_LEAST_MOVED = 1e-6


def features(score: Array, moved: Array | None, agreement: Array | None) -> Array:
    """(N, 3) float64 from (N,) each: what the coefficients multiply.

    The score within 100 logits, ln(moved) of a movement within 1e-6 and 1, and the share of tries
    that agree, 1 where there is one try.
    """
    change = np.ones(len(score)) if moved is None else np.clip(moved, _LEAST_MOVED, 1.0)
    share = np.ones(len(score)) if agreement is None else agreement
    near = np.clip(score, -_LARGEST_SCORE, _LARGEST_SCORE)
    return np.column_stack([near, np.log(np.float64(change)), share]).astype(np.float64)


def confidence_of(
    rule: Confidence, score: Array, moved: Array | None = None, agreement: Array | None = None
) -> Array:
    """(N,) float32: the probability of each answer; 0 for a score that is NaN, of no answer."""
    weights = np.array([rule.score, rule.moved, rule.agreement])
    logits = np.clip(features(score, moved, agreement) @ weights + rule.bias, -500.0, 500.0)
    probability = 1.0 / (1.0 + np.exp(-logits))
    return np.where(np.isnan(score), 0.0, probability).astype(np.float32)


def check_abstain(abstain: float) -> float:
    """The number; UsageError unless it is a probability below 1."""
    number = as_real(abstain)
    if number is None or not 0 <= number < 1:
        got = shown(abstain)
        raise UsageError(f"abstain: expected a number of 0 or more and below 1, got {got}.")
    return number


def rule_for(contract: StepContract, abstain: float | None) -> Confidence | None:
    """The coefficients for answers of at least that confidence; None if no one asked for them.

    UsageError for a wrong number, a contract without coefficients or states that are not seen.
    """
    if abstain is None:
        return None
    check_abstain(abstain)
    if contract.confidence is None:
        raise UsageError(
            "The contract of this model does not say how confident an answer is; write it into an "
            "exported file with `trm-export tune --confidence`."
        )
    if contract.confidence.moved:
        refuse_no_states(contract)
    return contract.confidence
