"""The choices of `solve` about several tries, and their defaults. Standard library only."""

from __future__ import annotations

VARY = ("symmetry", "noise", "both")
"""How tries differ: another guise of the puzzle, noise on the states, or both."""

CHOOSE = ("score", "first", "vote")
"""The answer: of the highest score, of the first confident try, or the most frequent one."""

SIGMA = 0.2  # deviation of the noise, as in arXiv 2605.19943
