from __future__ import annotations

import numpy as np
import pytest

from trm_export.tasks import check_answers, count_solutions, solve
from trm_export.tasks.bases import minimal_masks
from trm_export.tasks.solver import random_grids

HARD = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
HARD_SOLUTION = "812753649943682175675491283154237896369845721287169534521974368438526917796318452"
SEVENTEEN = "000000010400000000020000000000050407008000300001090000300400200050100000000806000"


def tokens(text: str) -> np.ndarray:
    return np.array([[1 if sign in ".0" else int(sign) + 1 for sign in text]], np.int32)


def allowed(board: list[int], cell: int, digit: int) -> bool:
    side = round(len(board) ** 0.5)
    box = round(side**0.5)
    row, column = divmod(cell, side)
    return not any(
        value == digit
        and other != cell
        and (
            other // side == row
            or other % side == column
            or (other // side // box == row // box and other % side // box == column // box)
        )
        for other, value in enumerate(board)
    )


def backtrack(board: list[int], limit: int) -> int:
    """Number of solutions of a board of tokens, counted cell by cell: slow and independent."""
    if 1 not in board:
        return int(all(allowed(board, cell, digit) for cell, digit in enumerate(board)))
    cell = board.index(1)
    found = 0
    for digit in range(2, round(len(board) ** 0.5) + 2):
        if found < limit and allowed(board, cell, digit):
            found += backtrack([*board[:cell], digit, *board[cell + 1 :]], limit - found)
    return found


def test_known_puzzles_are_solved() -> None:
    assert (solve(tokens(HARD)) == tokens(HARD_SOLUTION)).all()
    assert count_solutions(tokens(HARD)).tolist() == [1]
    assert count_solutions(tokens(SEVENTEEN)).tolist() == [1]


def test_one_clue_less_than_seventeen_has_more_solutions() -> None:
    puzzle = tokens(SEVENTEEN)
    clues = np.flatnonzero(puzzle[0] > 1)
    fewer = np.repeat(puzzle, len(clues), axis=0)
    fewer[np.arange(len(clues)), clues] = 1
    assert (count_solutions(fewer) == 2).all()


def test_a_contradiction_has_no_solution_and_solves_to_pads() -> None:
    twice = tokens("11" + "." * 79)
    assert count_solutions(twice).tolist() == [0]
    assert (solve(twice) == 0).all()


@pytest.mark.parametrize("limit", [1, 7])
def test_counting_stops_at_the_limit(limit: int) -> None:
    assert count_solutions(tokens(HARD[:45] + "." * 36), limit).tolist() == [limit]


def test_the_empty_4x4_board_has_288_solutions() -> None:
    assert count_solutions(np.ones((1, 16), np.int32), 1000).tolist() == [288]


def test_counts_agree_with_plain_backtracking() -> None:
    rng = np.random.default_rng(1)
    grids = random_grids(200, 4, rng) + 2
    puzzles = np.where(rng.random(grids.shape) < 0.35, grids, 1)
    puzzles[::5, 3] = 2  # some of them contradict themselves
    expected = [backtrack(puzzle.tolist(), 3) for puzzle in puzzles]
    assert count_solutions(puzzles, 3).tolist() == expected
    assert {0, 1, 2, 3} <= set(expected)


@pytest.mark.parametrize(("side", "different"), [(4, 120), (9, 300)])
def test_random_grids_are_complete_different_and_repeatable(side: int, different: int) -> None:
    grids = random_grids(300, side, np.random.default_rng(5)) + 2
    assert check_answers(np.ones_like(grids), grids, grids).valid.all()
    assert len(np.unique(grids, axis=0)) >= different
    assert (grids == random_grids(300, side, np.random.default_rng(5)) + 2).all()


def test_minimal_masks_have_one_solution_and_no_spare_clue() -> None:
    rng = np.random.default_rng(2)
    grids = random_grids(8, 9, rng)
    clues = minimal_masks(grids, rng)
    puzzles = np.where(clues, grids + 2, 1)
    assert (count_solutions(puzzles) == 1).all()
    for puzzle in puzzles:
        shown = np.flatnonzero(puzzle > 1)
        fewer = np.repeat(puzzle[None], len(shown), axis=0)
        fewer[np.arange(len(shown)), shown] = 1
        assert (count_solutions(fewer) == 2).all()


def test_no_puzzles_give_no_answers() -> None:
    nothing = np.ones((0, 81), np.int32)
    assert count_solutions(nothing).shape == (0,)
    assert solve(nothing).shape == (0, 81)


def test_boards_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="16 or 81"):
        count_solutions(np.ones((1, 80), np.int32))
