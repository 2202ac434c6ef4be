"""Judge and draw Sudoku boards. Knows tokens and rules; knows nothing about models or files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trm_export.tasks.task import Checks, Piece, Rule, text_of
from trm_runtime.judging import exact

__all__ = ["BLANK", "check_answers", "clue_clashes", "draw", "render", "sudoku_rules"]

BLANK = 1

Tokens = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


def check_answers(inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
    """Judge answers to puzzles; all three (N, S) tokens with S = 16 or 81.

    A valid answer has each digit once in every row, column and box and keeps the clues.
    """
    right, blank = answers == labels, inputs == 1
    side = round(inputs.shape[1] ** 0.5)
    units = answers[:, unit_cells(side)]
    complete = (np.sort(units, axis=2) == np.arange(2, side + 2)).all(axis=(1, 2))
    kept = (blank | (answers == inputs)).all(axis=1)
    blanks = blank.sum(axis=1)
    share = np.where(blanks > 0, (right & blank).sum(axis=1) / np.maximum(blanks, 1), 1.0)
    return Checks(exact(answers, labels), complete & kept, share)


def clue_clashes(puzzles: Tokens) -> Bools:
    """(N, S) tokens -> (N,) bool: a digit appears twice in a row, column or box."""
    side = round(puzzles.shape[1] ** 0.5)
    units = np.sort(puzzles[:, unit_cells(side)], axis=2)
    repeated = (units[:, :, 1:] == units[:, :, :-1]) & (units[:, :, 1:] > 1)
    clashes: Bools = repeated.any(axis=(1, 2))
    return clashes


def unit_cells(side: int) -> npt.NDArray[np.intp]:
    """Cells of every row, column and box: (3 * side, side)."""
    box = round(side**0.5)
    board = np.arange(side * side).reshape(side, side)
    boxes = board.reshape(box, box, box, box).transpose(0, 2, 1, 3).reshape(side, side)
    return np.concatenate([board, board.T, boxes])


def render(inputs: Tokens, answer: Tokens | None = None) -> str:
    """The text of `draw`."""
    return text_of(draw(inputs, answer))


def draw(inputs: Tokens, answer: Tokens | None = None) -> list[Piece]:
    """One board for a terminal, boxes drawn in lines, no newline at the end.

    inputs: (S,) tokens; blanks are dots. With an answer (S,), its tokens fill the blank cells.
    """
    shown = inputs if answer is None else np.where(inputs == BLANK, answer, inputs)
    side = round(len(shown) ** 0.5)
    box = round(side**0.5)
    line = ["─" * (2 * box + 1)] * box
    pieces = [Piece("┌" + "┬".join(line) + "┐\n")]
    for cell, token in enumerate(shown.tolist()):
        row, column = divmod(cell, side)
        if column == 0 and row and row % box == 0:
            pieces.append(Piece("├" + "┼".join(line) + "┤\n"))
        pieces.append(Piece("│ " if column % box == 0 else ""))
        pieces += [Piece(str(token - 1) if token > 1 else ".", cell), Piece(" ")]
        if column == side - 1:
            pieces.append(Piece("│\n"))
    return [*pieces, Piece("└" + "┴".join(line) + "┘")]


def sudoku_rules(inputs: Tokens, labels: Tokens | None) -> Iterator[Rule]:
    """(rows that break the rule, the problem of a row), the most basic rule first."""
    yield clue_clashes(inputs), lambda row: _twice("clue", inputs[row])
    if labels is None:
        return
    moved = (inputs != BLANK) & (inputs != labels)
    yield moved.any(axis=1), lambda row: _moved(inputs[row], labels[row], moved[row])
    yield clue_clashes(labels), lambda row: _twice("solution's digit", labels[row])


def _moved(inputs: Tokens, labels: Tokens, moved: npt.NDArray[np.bool_]) -> str:
    cell = int(moved.argmax())
    row, column = divmod(cell, round(len(inputs) ** 0.5))
    return (
        f"the solution contradicts the puzzle in row {row + 1}, column {column + 1}: expected the "
        f"clue {inputs[cell] - 1}, got {labels[cell] - 1}"
    )


def _twice(kind: str, tokens: Tokens) -> str:
    side = round(len(tokens) ** 0.5)
    for index, cells in enumerate(unit_cells(side)):
        digits = tokens[cells][tokens[cells] > 1].tolist()
        repeated = [digit - 1 for digit in digits if digits.count(digit) > 1]
        if repeated:
            unit = ("row", "column", "box")[index // side]
            return f"the {kind} {repeated[0]} appears twice in {unit} {index % side + 1}"
    raise ValueError("No digit is repeated.")
