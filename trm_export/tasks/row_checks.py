"""Find the bad rows of a puzzle file, with the problem of each.

Works on token arrays of any origin, so the same text serves a line of a text file and a row of an
array; the caller adds where the row is from.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trm_export.tasks.task import Boards, Cells, Rule
from trm_runtime.errors import RejectedInputError

__all__ = ["SHOWN", "find_bad_rows", "reject"]

SHOWN = 5  # bad rows named in one error
_CHUNK = 16384  # rows checked at once: the memory a large file takes beyond its tokens
Tokens = npt.NDArray[np.integer]


def find_bad_rows(
    task: Boards, inputs: Tokens, labels: Tokens | None
) -> tuple[int, list[tuple[int, str]]]:
    """How many rows break a rule, and for the first `SHOWN` of them (row, problem).

    inputs, labels: (N, S) tokens. Rows must have the task's own tokens only and obey its rules.
    """
    count, first = 0, list[tuple[int, str]]()
    for start in range(0, len(inputs), _CHUNK):
        part = slice(start, start + _CHUNK)
        broken, named = _broken(task, inputs[part], None if labels is None else labels[part])
        count += broken
        first += [(start + row, reason) for row, reason in named]
    return count, first[:SHOWN]


def reject(name: str, total: int, bad: int, named: list[str]) -> RejectedInputError:
    """The error for `bad` of `total` rows of a file, the first of them described in `named`."""
    rows = f"{bad} of {total} rows" if total > 1 else "the only row"
    summary = f"{name}: {rows} cannot be used; correct or remove:"
    return RejectedInputError(summary, named[:SHOWN], bad)


def _broken(
    task: Boards, inputs: Tokens, labels: Tokens | None
) -> tuple[int, list[tuple[int, str]]]:
    """What `find_bad_rows` returns, for few enough rows to check at once."""
    reasons: dict[int, str] = {}
    bad = np.zeros(len(inputs), np.bool_)
    for broken, explain in _rules(task, inputs, labels):
        fresh = np.flatnonzero(broken & ~bad)[:SHOWN]
        reasons.update((row, explain(row)) for row in fresh.tolist())
        bad |= broken
    return int(bad.sum()), sorted(reasons.items())[:SHOWN]


def _rules(task: Boards, inputs: Tokens, labels: Tokens | None) -> Iterator[Rule]:
    """(rows that break the rule, the problem of a row), the most basic rule first."""
    yield _tokens_rule("puzzle", inputs, task.given)
    if labels is not None:
        yield _tokens_rule("solution", labels, task.solved)
    yield from task.rules(inputs, labels)


def _tokens_rule(kind: str, rows: Tokens, cells: Cells) -> Rule:
    odd = (rows < cells.ids.start) | (rows >= cells.ids.stop)

    def explain(row: int) -> str:
        cell = int(odd[row].argmax())
        return (
            f"expected a token {cells.ids.start} to {cells.ids.stop - 1} ({cells.tokens}) at "
            f"position {cell + 1} of the {kind}, got {rows[row, cell]}"
        )

    return odd.any(axis=1), explain
