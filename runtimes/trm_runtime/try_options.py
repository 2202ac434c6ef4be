"""The choices of `solve` about halting and several tries, and their defaults.

Standard library only.
"""

from __future__ import annotations

from typing import Any

from trm_runtime.errors import UsageError

HALT = ("learned", "max_steps", "settled", "both")
"""When a puzzle is done: the contract's rule, never early, little movement, or both rules."""

VARY = ("symmetry", "noise", "both")
"""How tries differ: another guise of the puzzle, noise on the states, or both."""

CHOOSE = ("score", "first", "vote")
"""The answer: of the highest score, of the first confident try, or the most frequent one."""

SIGMA = 0.2  # deviation of the noise, as in arXiv 2605.19943


def tries_asked(tries: int, **given: Any) -> dict[str, Any]:
    """The options of `solve` about tries that a command line gives; None is one that it does not.

    UsageError for one that does nothing, because a puzzle is not asked again or without noise.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    if asked and tries == 1:
        names = " and ".join(f"--{name}" for name in asked)
        raise UsageError(
            f"{names}: without effect while a puzzle has one try; give --tries 2 or more as well."
        )
    if "sigma" in asked and asked.get("vary", VARY[0]) == VARY[0]:
        raise UsageError(
            f"--sigma: without effect while tries differ by {VARY[0]}; give --vary noise or both "
            "as well."
        )
    return {"tries": tries, **asked}
