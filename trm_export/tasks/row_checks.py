"""Find the rows of a puzzle file that cannot be used, and say for each what is wrong with it.

Works on token arrays of any origin, so the same sentence serves a line of text and a row of an
array; the caller says where the row came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from trm_export.tasks.boards import clue_clashes, unit_cells
from trm_runtime.errors import RejectedInputError

__all__ = ["SHOWN", "find_bad_rows", "reject"]

SHOWN = 5  # bad rows named in one error
_CHUNK = 16384  # rows checked at once: the memory a large file takes beyond its tokens
Tokens = npt.NDArray[np.integer]


def find_bad_rows(inputs: Tokens, labels: Tokens | None) -> tuple[int, list[tuple[int, str]]]:
    """How many rows break a rule, and for the first `SHOWN` of them (row, what is wrong).

    inputs, labels: (N, S) tokens, S = 16 or 81. The rules: inputs hold blanks and digits only
    and no digit twice in a row, column or box; labels hold digits only, keep the clues and fill
    every row, column and box.
    """
    count, first = 0, list[tuple[int, str]]()
    for start in range(0, len(inputs), _CHUNK):
        part = slice(start, start + _CHUNK)
        found, named = _broken(inputs[part], None if labels is None else labels[part])
        count += found
        first += [(start + row, reason) for row, reason in named]
    return count, first[:SHOWN]


def reject(name: str, total: int, bad: int, named: list[str]) -> RejectedInputError:
    """The error for `bad` of `total` rows of a file, the first of them described in `named`."""
    shown = named[:SHOWN]
    if bad > len(shown):
        shown.append(f"and {bad - len(shown)} more")
    count = f"{bad} of {total} rows" if total > 1 else "its only row"
    return RejectedInputError(f"{name}: {count} cannot be used; correct or remove", shown)


def _broken(inputs: Tokens, labels: Tokens | None) -> tuple[int, list[tuple[int, str]]]:
    """What `find_bad_rows` returns, for few enough rows to check at once."""
    reasons: dict[int, str] = {}
    bad = np.zeros(len(inputs), np.bool_)
    for broken, explain in _rules(inputs, labels, round(inputs.shape[1] ** 0.5)):
        fresh = np.flatnonzero(broken & ~bad)[:SHOWN]
        reasons.update((row, explain(row)) for row in fresh.tolist())
        bad |= broken
    return int(bad.sum()), sorted(reasons.items())[:SHOWN]


def _rules(
    inputs: Tokens, labels: Tokens | None, side: int
) -> Iterable[tuple[Any, Callable[[int], str]]]:
    """(rows that break the rule, what to say of one), the most basic rule first."""
    odd = (inputs < 1) | (inputs > side + 1)
    yield odd.any(axis=1), lambda row: _stray("puzzle", inputs[row], odd[row], 1, side)
    yield clue_clashes(inputs), lambda row: _twice("clue", inputs[row])
    if labels is None:
        return
    strange = (labels < 2) | (labels > side + 1)
    yield strange.any(axis=1), lambda row: _stray("solution", labels[row], strange[row], 2, side)
    moved = (inputs != 1) & (inputs != labels)
    yield moved.any(axis=1), lambda row: _moved(inputs[row], labels[row], moved[row])
    yield clue_clashes(labels), lambda row: _twice("digit of the solution", labels[row])


def _stray(kind: str, tokens: Tokens, odd: npt.NDArray[np.bool_], least: int, side: int) -> str:
    cell = int(odd.argmax())
    meaning = "1 blank, 2.. digits" if least == 1 else "2.. digits"
    return (
        f"token {tokens[cell]} at position {cell + 1} of the {kind}; "
        f"expected {least} to {side + 1} ({meaning})"
    )


def _moved(inputs: Tokens, labels: Tokens, moved: npt.NDArray[np.bool_]) -> str:
    cell = int(moved.argmax())
    row, column = divmod(cell, round(len(inputs) ** 0.5))
    return (
        f"the solution contradicts the puzzle in row {row + 1}, column {column + 1}: "
        f"{labels[cell] - 1} instead of the clue {inputs[cell] - 1}"
    )


def _twice(kind: str, tokens: Tokens) -> str:
    side = round(len(tokens) ** 0.5)
    for index, cells in enumerate(unit_cells(side)):
        digits = tokens[cells][tokens[cells] > 1].tolist()
        repeated = [digit - 1 for digit in digits if digits.count(digit) > 1]
        if repeated:
            unit = ("row", "column", "box")[index // side]
            return f"the {kind} {repeated[0]} stands twice in {unit} {index % side + 1}"
    raise ValueError("no digit is repeated")
