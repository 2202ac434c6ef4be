"""The symmetries of a task as data, a part of the step contract.

A symmetry moves the cells of a puzzle and renames its token ids, and makes another puzzle of the
same task, whose answer is the answer of the first under the same symmetry. Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from trm_runtime.strict_json import Fields

KEY = "symmetries"  # of the contract


@dataclass(frozen=True)
class Symmetries:
    """Generators of the symmetries of a task; `symmetry_problems` has the rules."""

    positions: tuple[tuple[int, ...], ...] = ()
    """Permutations p of 0..S-1: cell i of the other puzzle is cell p[i] of this one."""

    tokens: tuple[tuple[int, ...], ...] = ()
    """Classes of token ids that may be renamed among each other; all other ids stay."""


def symmetry_problems(symmetries: Symmetries | None, cells: int, vocab: int) -> list[str]:
    """Broken rules of the symmetries of puzzles with so many cells and token ids."""
    if symmetries is None:
        return []
    problems = [
        f"{KEY}.positions[{index}]: expected a permutation of 0 to {cells - 1}"
        for index, order in enumerate(symmetries.positions)
        if len(order) != cells or sorted(order) != list(range(cells))
    ]
    problems += [
        f"{KEY}.tokens[{index}]: expected 2 or more token ids of 0 to {vocab - 1}"
        for index, ids in enumerate(symmetries.tokens)
        if len(ids) < 2 or not all(0 <= token < vocab for token in ids)
    ]
    return problems + _twice(symmetries.tokens)


def _twice(classes: Sequence[Sequence[int]]) -> list[str]:
    counts = Counter(chain.from_iterable(classes))
    return [f"{KEY}.tokens: id {token} is there twice" for token, n in counts.items() if n > 1]


def read_symmetries(parent: Fields) -> Symmetries | None:
    """The symmetries in a contract that has that key; null is the same as none."""
    if parent.values.get(KEY) is None:
        return None
    fields = parent.object(KEY, tuple(Symmetries.__dataclass_fields__))
    return Symmetries(fields.integer_lists("positions"), fields.integer_lists("tokens"))
