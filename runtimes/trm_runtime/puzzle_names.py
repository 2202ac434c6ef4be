"""The names that people give to puzzles and solutions: of columns, arrays and keys.

Standard library only; knows no format of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PUZZLE_NAMES = (
    "puzzle", "quiz", "question", "board", "sudoku", "maze", "input", "unsolved", "problem",
    "value",
)  # fmt: skip
SOLUTION_NAMES = ("solution", "answer", "solved", "target", "output", "label")
"""Names of columns, arrays and keys, plural forms too."""

_FILLING = {"text", "string", "str", "grid", "the", "cell", "token", "initial", "final"}


def kind_of(column: str) -> tuple[str, ...] | None:
    """The names of puzzles or of solutions, whichever a column has; None for another column."""
    words = words_of(column)
    if not words <= {*PUZZLE_NAMES, *SOLUTION_NAMES, *_FILLING}:
        return None
    if words & set(SOLUTION_NAMES):
        return SOLUTION_NAMES
    return PUZZLE_NAMES if words & set(PUZZLE_NAMES) else None


def place_of(columns: list[str], kind: tuple[str, ...]) -> int | None:
    """The place of the most usual name of a kind."""
    return next((columns.index(column) for column in named_so(columns, kind)), None)


def named_so(columns: Iterable[str], kind: tuple[str, ...]) -> list[str]:
    """The columns of a kind, the most usual name first."""
    return sorted(
        (column for column in columns if kind_of(column) is kind),
        key=lambda column: min(kind.index(word) for word in words_of(column) & {*kind}),
    )


def words_of(column: str) -> set[str]:
    """The words of a name in lower case and the singular."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower().replace("quizzes", "quiz")
    words = set(re.split(r"[\W_]+", spaced)) - {""}
    return {word[:-1] if word.endswith("s") else word for word in words}


def known_names() -> str:
    """All names, for a message."""
    return (
        f"known for puzzles are {', '.join(PUZZLE_NAMES)}; for solutions "
        f"{', '.join(SOLUTION_NAMES)}"
    )
