"""Functions for the text of messages. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

MAX_LISTED = 5


def first_few(problems: Sequence[str], limit: int = MAX_LISTED) -> list[str]:
    """The first `limit` problems and, if there are more, their number."""
    more = len(problems) - limit
    return [*problems[:limit], *([f"... and {more} more"] if more > 0 else [])]


def first_line(error: BaseException) -> str:
    """The first line of an engine's exception, without full stop; its type if it is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def counted(count: int, noun: str) -> str:
    """`1 puzzle`, `2 puzzles`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def rows_text(count: int, kind: str) -> str:
    """How many rows of that kind: `2000 puzzles`, `1 puzzle`, `2 puzzles, all of one`."""
    noun, comma, rest = kind.partition(",")
    return f"{counted(count, 'puzzle')}{comma}{rest}" if noun == "puzzles" else f"{count} {kind}"
