"""Judge and draw mazes. Knows tokens and rules; knows nothing about models or files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trm_export.tasks.maze_grids import paths_from
from trm_export.tasks.task import Checks, Piece, Rule
from trm_runtime.judging import exact

__all__ = [
    "GOAL",
    "OPEN",
    "PATH",
    "START",
    "WALL",
    "check_paths",
    "draw_maze",
    "maze_rules",
    "path_lengths",
]

WALL, OPEN, START, GOAL, PATH = range(1, 6)

Tokens = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

_SIGNS = ("??", "██", "  ", "S ", "G ", "● ")  # two columns are about as wide as a line is high


def check_paths(inputs: Tokens, answers: Tokens, labels: Tokens) -> Checks:
    """Judge answers to mazes; all three (N, S) tokens. Any shortest path is valid."""
    right, blank = answers == labels, inputs == OPEN
    share = (right & blank).sum(axis=1) / np.maximum(blank.sum(axis=1), 1)
    found = _kept(inputs, answers) & _shortest(inputs, answers)
    return Checks(exact(answers, labels), found, np.where(blank.any(axis=1), share, 1.0))


def path_lengths(inputs: Tokens) -> npt.NDArray[np.int32]:
    """(N,) int32 path cells of a shortest path through each maze (N, S), 0 where there is none."""
    return np.maximum(_distance(inputs, inputs != WALL) - 1, 0)


def path_counts(inputs: Tokens) -> npt.NDArray[np.int32]:
    """(N,) int32 shortest paths through each maze (N, S): 0, 1, or 2 for more than one."""
    side = round(inputs.shape[1] ** 0.5)
    starts, goals = (inputs == START).argmax(axis=1), (inputs == GOAL).argmax(axis=1)
    _, ways = paths_from((inputs != WALL).reshape(-1, side, side), starts)
    counts: npt.NDArray[np.int32] = ways[np.arange(len(inputs)), goals]
    return counts


def draw_maze(inputs: Tokens, answer: Tokens | None = None) -> list[Piece]:
    """One maze (S,) for a terminal, two columns a cell; an answer fills the open cells."""
    shown = inputs if answer is None else np.where(inputs == OPEN, answer, inputs)
    side, pieces = round(len(shown) ** 0.5), list[Piece]()
    for cell, token in enumerate(shown.tolist()):
        if cell and cell % side == 0:
            pieces.append(Piece("\n"))
        pieces.append(Piece(_SIGNS[token], cell))
    return pieces


def maze_rules(inputs: Tokens, labels: Tokens | None) -> Iterator[Rule]:
    """(rows that break the rule, the problem of a row), the most basic rule first."""
    starts, goals = (inputs == START).sum(axis=1), (inputs == GOAL).sum(axis=1)
    yield (
        (starts != 1) | (goals != 1),
        lambda row: f"expected one cell S and one cell G, got {starts[row]} and {goals[row]}",
    )
    yield _distance(inputs, inputs != WALL) < 0, lambda row: "no path leads from S to G"
    if labels is None:
        return
    moved = ~_kept(inputs, labels)
    yield moved, lambda row: _moved(inputs[row], labels[row])
    wrong = ~_shortest(inputs, labels)
    yield wrong, lambda row: "the cells o of the solution are not a shortest path from S to G"


def _kept(inputs: Tokens, answers: Tokens) -> Bools:
    """(N,) bool: walls, start and goal are those of the puzzle, open cells are open or path."""
    return np.logical_not(_changed(inputs, answers).any(axis=1))


def _changed(inputs: Tokens, answers: Tokens) -> Bools:
    """(N, S) bool: cells that the answer changed and must not change."""
    changed: Bools = (answers != inputs) & ~((inputs == OPEN) & (answers == PATH))
    return changed


def _shortest(inputs: Tokens, answers: Tokens) -> Bools:
    """(N,) bool: the path cells are exactly one shortest path from start to goal."""
    least = _distance(inputs, inputs != WALL)
    along = _distance(inputs, (answers == PATH) | (inputs == START) | (inputs == GOAL))
    count = (answers == PATH).sum(axis=1)
    shortest: Bools = (least > 0) & (along == least) & (count == least - 1)
    return shortest


def _distance(inputs: Tokens, free: Bools) -> npt.NDArray[np.int32]:
    """(N,) steps from the first start to the first goal over free cells (N, S); -1 if none."""
    side = round(inputs.shape[1] ** 0.5)
    starts, goals = (inputs == START).argmax(axis=1), (inputs == GOAL).argmax(axis=1)
    steps, _ = paths_from(free.reshape(-1, side, side), starts)
    distance: npt.NDArray[np.int32] = steps[np.arange(len(inputs)), goals]
    return distance


def _moved(inputs: Tokens, labels: Tokens) -> str:
    cell = int(_changed(inputs[None], labels[None])[0].argmax())
    row, column = divmod(cell, round(len(inputs) ** 0.5))
    return f"the solution contradicts the puzzle in row {row + 1}, column {column + 1}"
