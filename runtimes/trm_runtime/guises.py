"""Guises: a puzzle under a symmetry of its task, and the way back for its answer.

Try 0 is the puzzle as it is. Knows numpy and the symmetries of a contract; knows no task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract, Symmetries
from trm_runtime.randomness import stream, words

Array = np.ndarray[Any, Any]

WALK = 256  # generators, or none, that one guise is a product of
REDRAWS = 64  # of a guise that is equal to one before, until there are no more
_PURPOSE = 0  # of their streams; that of noise is another


@dataclass(frozen=True)
class Guises:
    """One guise for each try k."""

    cells: Array  # (K, S) int64: cell i of the guise is cell [k, i] of the puzzle
    tokens: Array  # (K, V) int32: token id of the guise for each of the puzzle

    def __len__(self) -> int:
        return len(self.cells)

    def ask(self, puzzles: Array, tries: Array) -> Array:
        """(n, S) int32: the guises of (n, S) puzzles, each in that of its try (n,)."""
        moved = np.take_along_axis(puzzles, self.cells[tries], axis=1)
        return np.take_along_axis(self.tokens[tries], moved, axis=1)

    def undo(self, answers: Array, tries: Array) -> Array:
        """(n, S) int32: the answers to the puzzles, from those to their guises."""
        own = np.argsort(self.tokens[tries], axis=1).astype(np.int32)
        found = np.empty(answers.shape, np.int32)
        np.put_along_axis(
            found, self.cells[tries], np.take_along_axis(own, answers, axis=1), axis=1
        )
        return found


def draw_guises(contract: StepContract, tries: int, seed: int) -> Guises:
    """At most so many different guises; fewer if the symmetries make no more."""
    symmetries = contract.symmetries or Symmetries()
    cells, tokens = [np.arange(contract.seq_len)], [np.arange(contract.vocab_size)]
    known = {(cells[0].tobytes(), tokens[0].tobytes())}
    for number in range(1, tries):
        start = stream(seed, number, _PURPOSE)
        for attempt in range(REDRAWS):
            one = _drawn(symmetries, contract, start, attempt)
            key = (one[0].tobytes(), one[1].tobytes())
            if key not in known:
                break
        else:
            break
        known.add(key)
        cells.append(one[0])
        tokens.append(one[1])
    return Guises(np.stack(cells), np.stack(tokens).astype(np.int32))


def _drawn(
    symmetries: Symmetries, contract: StepContract, start: int, attempt: int
) -> tuple[Array, Array]:
    """The cells and tokens of a guise, from the words of the stream after those of the others."""
    taken = WALK + sum(len(ids) - 1 for ids in symmetries.tokens)
    drawn = words(start, attempt * taken, taken).tolist()
    orders = [np.array(order) for order in symmetries.positions]
    cells = np.arange(contract.seq_len)
    for word in drawn[:WALK]:
        choice = word % (len(orders) + 1)
        if choice < len(orders):
            cells = cells[orders[choice]]
    tokens, rest = np.arange(contract.vocab_size), iter(drawn[WALK:])
    for ids in symmetries.tokens:
        new = list(ids)
        for last in range(len(ids) - 1, 0, -1):
            other = next(rest) % (last + 1)
            new[last], new[other] = new[other], new[last]
        tokens[list(ids)] = new
    return cells, tokens
