"""Boards of a model whose task is not known: token ids of its own size, without rules.

Enough to read puzzles and to compare answers with solutions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trm_export.tasks.task import Cells, Checks, Piece, Rule
from trm_runtime.alphabet import open_cells, pads, text_of
from trm_runtime.judging import exact, without_padding

if TYPE_CHECKING:
    from trm_export.tasks import TaskDescription

__all__ = ["TokenBoards"]

Ints = npt.NDArray[np.int32]
Tokens = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TokenBoards:
    """See `Boards`. alphabet, seq_len, vocab_size: those of the model."""

    alphabet: tuple[str, ...] | None
    seq_len: int
    vocab_size: int

    name = "tokens"
    num_puzzle_identifiers = None

    @classmethod
    def of(cls, model: TaskDescription) -> TokenBoards:
        """The boards of a model, or of the contract of one."""
        return cls(model.alphabet, model.seq_len, model.vocab_size)

    @property
    def given(self) -> Cells:
        """All tokens."""
        signs = "".join(self.alphabet or ()) or "a token id"
        return Cells(range(self.vocab_size), f"one of {signs}", "those of the model")

    @property
    def solved(self) -> Cells:
        """All tokens."""
        return self.given

    def check(self, inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
        """Without rules an answer is valid if it is right."""
        targets = without_padding(labels) if pads(self.alphabet) else labels
        same, opened = exact(answers, targets), self.blank_cells(inputs)
        right = ((answers == labels) & opened).sum(axis=1)
        share = np.where(opened.any(axis=1), right / np.maximum(opened.sum(axis=1), 1), 1.0)
        return Checks(same, same, share)

    def draw(self, inputs: Tokens, answer: Tokens | None = None) -> list[Piece]:
        """The rows of a square board, else one row."""
        shown = inputs if answer is None else answer
        side = round(len(shown) ** 0.5)
        return list(self._pieces(shown, side if side * side == len(shown) else len(shown)))

    def _pieces(self, tokens: Tokens, side: int) -> Iterator[Piece]:
        for cell, token in enumerate(tokens.tolist()):
            if cell and cell % side == 0:
                yield Piece("\n")
            text = str(token) if self.alphabet is None else text_of([token], self.alphabet)
            yield Piece(f"{text} ", cell)

    def blank_cells(self, inputs: Tokens) -> Bools:
        """The blanks of the alphabet; all cells if it has none."""
        opened = open_cells(self.alphabet, inputs)
        return np.ones(inputs.shape, np.bool_) if opened is None else opened

    def fills(self, inputs: Tokens) -> Ints:
        """The blanks of each board."""
        return self.blank_cells(inputs).sum(axis=1, dtype=np.int32)

    def ambiguous(self, inputs: Tokens) -> Bools:
        """None, because there are no rules."""
        return np.zeros(len(inputs), np.bool_)

    def rules(self, inputs: Tokens, labels: Tokens | None) -> Iterable[Rule]:
        """None."""
        return ()
