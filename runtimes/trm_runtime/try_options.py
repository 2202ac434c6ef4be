"""The choices of `solve` about halting and several tries, and their defaults.

Standard library only.
"""

from __future__ import annotations

HALT = ("learned", "max_steps", "settled", "both")
"""When a puzzle is done: the contract's rule, never early, little movement, or both rules."""

VARY = ("symmetry", "noise", "both")
"""How tries differ: another guise of the puzzle, noise on the states, or both."""

CHOOSE = ("score", "first", "vote")
"""The answer: of the highest score, of the first confident try, or the most frequent one."""

SIGMA = 0.2  # deviation of the noise, as in arXiv 2605.19943
