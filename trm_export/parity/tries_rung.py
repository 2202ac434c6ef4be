"""The rung `tries`: a file and its model when both ask puzzles again; reported, not judged.

Two sides that round differently drift apart on a puzzle that they do not solve, so that they need
not solve it in the same try; the number of puzzles that each solves is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.errors import TRMError, reason_of
from trm_runtime.judging import exact
from trm_runtime.loop import solve
from trm_runtime.open import open_runner
from trm_runtime.parity import Golden, Rung
from trm_runtime.parity.counts import mcnemar
from trm_runtime.parity.result import NOT_JUDGED, REPORTED
from trm_runtime.runner import StepRunner
from trm_runtime.solution import Solution

TRIES = "tries"

Array = np.ndarray[Any, Any]


def solved_again(golden: Golden, runner: StepRunner, again: Mapping[str, Any]) -> Solution:
    """The puzzles of a recording with these options of `solve` about tries."""
    names = golden.chunks[0].tokens
    tokens = {name: np.concatenate([c.tokens[name] for c in golden.chunks]) for name in names}
    return solve(runner, tokens, **again)


def tries_rung(
    path: Path,
    golden: Golden,
    model: Solution | None,
    again: Mapping[str, Any],
    threads: int | None,
    engine: str | None = None,
) -> Rung:
    """The rung of a file; `model` is the same of the model, None where only `golden` is known."""
    try:
        found = solved_again(golden, open_runner(path, threads, engine=engine), again)
    except TRMError as error:
        return Rung(TRIES, NOT_JUDGED, reason_of(error))
    texts = [f"at most {again['tries']} tries"]
    labels = _labels(golden)
    if labels is None:
        texts.append("the puzzles have no solutions")
    else:
        right = exact(found.answers, labels)
        texts.append(_compared(right, None if model is None else exact(model.answers, labels)))
    if model is not None:
        texts.append(f"mean steps {model.mean_steps:.2f} and {found.mean_steps:.2f}")
    return Rung(TRIES, REPORTED, ", ".join(texts))


def _labels(golden: Golden) -> Array | None:
    found = [chunk.labels for chunk in golden.chunks if chunk.labels is not None]
    return np.concatenate(found) if len(found) == len(golden.chunks) else None


def _compared(right: Array, wanted: Array | None) -> str:
    if wanted is None:
        return f"exact {right.mean():.2%}"
    lost, won = int((wanted & ~right).sum()), int((right & ~wanted).sum())
    sides = f"exact {wanted.mean():.2%} and {right.mean():.2%}"
    return f"{sides}, {lost} lost, {won} won, p = {mcnemar(lost, won):.2g}"
