"""Judge and draw Sudoku boards. Knows tokens and rules; knows nothing about models or files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Checks", "check_answers", "clue_clashes", "render"]

Tokens = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Checks:
    """Verdicts on a batch of answers, one a row.

    exact: (N,) bool, every cell equals the label. valid: (N,) bool, every row, column and box
    holds each digit once and the clues are kept. cell_accuracy: (N,) float64 share of the blank
    cells that equal the label (1.0 where there is no blank).
    """

    exact: Bools
    valid: Bools
    cell_accuracy: npt.NDArray[np.float64]


def check_answers(inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
    """Judge answers to puzzles; all three (N, S) tokens with S = 16 or 81."""
    right, blank = answers == labels, inputs == 1
    side = round(inputs.shape[1] ** 0.5)
    units = answers[:, unit_cells(side)]
    complete = (np.sort(units, axis=2) == np.arange(2, side + 2)).all(axis=(1, 2))
    kept = (blank | (answers == inputs)).all(axis=1)
    blanks = blank.sum(axis=1)
    share = np.where(blanks > 0, (right & blank).sum(axis=1) / np.maximum(blanks, 1), 1.0)
    return Checks(right.all(axis=1), complete & kept, share)


def clue_clashes(puzzles: Tokens) -> Bools:
    """(N, S) tokens -> (N,) bool: a digit stands twice in a row, column or box."""
    side = round(puzzles.shape[1] ** 0.5)
    units = np.sort(puzzles[:, unit_cells(side)], axis=2)
    again = (units[:, :, 1:] == units[:, :, :-1]) & (units[:, :, 1:] > 1)
    clashes: Bools = again.any(axis=(1, 2))
    return clashes


def unit_cells(side: int) -> npt.NDArray[np.intp]:
    """Cells of every row, column and box: (3 * side, side)."""
    box = round(side**0.5)
    board = np.arange(side * side).reshape(side, side)
    boxes = board.reshape(box, box, box, box).transpose(0, 2, 1, 3).reshape(side, side)
    return np.concatenate([board, board.T, boxes])


def render(inputs: Tokens, answer: Tokens | None = None) -> str:
    """One board as text for a terminal, boxes drawn in lines, no newline at the end.

    inputs: (S,) tokens; blanks are dots. With an answer (S,), its tokens fill the blank cells.
    """
    shown = inputs if answer is None else np.where(inputs == 1, answer, inputs)
    side = round(len(shown) ** 0.5)
    box = round(side**0.5)
    signs = [str(token - 1) if token > 1 else "." for token in shown.tolist()]
    span = "─" * (2 * box + 1)
    lines = ["┌" + "┬".join([span] * box) + "┐"]
    for row in range(side):
        if row and row % box == 0:
            lines.append("├" + "┼".join([span] * box) + "┤")
        cells = signs[row * side : (row + 1) * side]
        groups = [" ".join(cells[i : i + box]) for i in range(0, side, box)]
        lines.append("│ " + " │ ".join(groups) + " │")
    return "\n".join([*lines, "└" + "┴".join([span] * box) + "┘"])
