"""Statistics of counts: intervals, and McNemar's exact test. Standard library only."""

from __future__ import annotations

import math

_Z95 = 1.959963984540054  # the normal quantile of 0.975


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share `hits / n` (Wilson 1927); (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    share, weight = hits / n, _Z95**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half = _Z95 * math.sqrt(share * (1 - share) / n + weight / (4 * n)) / (1 + weight)
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    return low, 1.0 if hits == n else min(1.0, centre + half)


def paired_interval(lost: float, won: float, n: int) -> tuple[float, float]:
    """The 95 % interval of the share `(won - lost) / n` of n pairs (Agresti and Min 2005).

    It is that of the normal approximation after half a pair is added to each of the four kinds,
    so that it has a width even where no pair differs.
    """
    size, difference, differing = n + 2, won - lost, lost + won + 1
    half = _Z95 * math.sqrt(differing - difference**2 / size) / size
    return max(-1.0, difference / size - half), min(1.0, difference / size + half)


def mcnemar(lost: int, won: int) -> float:
    """The two-sided exact p value of equal numbers of puzzles lost and won (McNemar 1947).

    Under the null hypothesis a puzzle on which the two sides disagree is lost or won with
    probability one half each; p is 1.0 if they never disagree.
    """
    n, fewer = lost + won, min(lost, won)
    tail = term = 1  # n over 0; each from the previous one, which is fast for 100,000 puzzles
    for k in range(fewer):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**n))
