"""Small things that messages are made of. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

MAX_LISTED = 5


def first_few(problems: Sequence[str], limit: int = MAX_LISTED) -> list[str]:
    """The first `limit` problems and, when there are more, how many."""
    more = len(problems) - limit
    return [*problems[:limit], *([f"... and {more} more"] if more > 0 else [])]


def first_line(error: BaseException) -> str:
    """The reason that an exception of an engine begins with, or what kind it is of."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def counted(count: int, noun: str) -> str:
    """`1 puzzle`, `2 puzzles`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
