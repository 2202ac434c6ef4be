from __future__ import annotations

import numpy as np

from trm_export.tasks import check_answers, get_task, render


def test_a_right_answer_is_exact_and_valid() -> None:
    puzzles = get_task("sudoku9").puzzles("test", 40, 10)
    checks = check_answers(puzzles.inputs, puzzles.labels, puzzles.labels)
    assert checks.exact.all()
    assert checks.valid.all()
    assert (checks.cell_accuracy == 1).all()


def test_wrong_cells_are_counted_among_the_blanks() -> None:
    puzzles = get_task("sudoku9").puzzles("test", 40, 10)
    answers = puzzles.labels.copy()
    for row, cells in enumerate(puzzles.inputs == 1):
        cell = np.flatnonzero(cells)[0]
        answers[row, cell] = answers[row, cell] % 10 + 2 if answers[row, cell] < 10 else 2
    checks = check_answers(puzzles.inputs, answers, puzzles.labels)
    assert not checks.exact.any()
    assert not checks.valid.any()
    assert np.allclose(checks.cell_accuracy, 39 / 40)


def test_another_complete_grid_is_valid_only_for_a_puzzle_it_continues() -> None:
    puzzles = get_task("sudoku9").puzzles("test", 40, 2)
    other = puzzles.labels[::-1]
    checks = check_answers(puzzles.inputs, other, puzzles.labels)
    assert not checks.valid.any()
    free = np.ones_like(puzzles.inputs)
    checks = check_answers(free, other, puzzles.labels)
    assert checks.valid.all()
    assert not checks.exact.any()


def test_a_full_board_has_full_accuracy() -> None:
    labels = get_task("sudoku4").puzzles("test", 4, 3).labels
    assert (check_answers(labels, labels, labels).cell_accuracy == 1).all()


def test_boards_are_drawn_with_their_boxes() -> None:
    puzzle = np.array([2, 1, 1, 1, 1, 3, 1, 1, 1, 1, 4, 1, 1, 1, 1, 5])
    assert render(puzzle) == (
        "┌─────┬─────┐\n"
        "│ 1 . │ . . │\n"
        "│ . 2 │ . . │\n"
        "├─────┼─────┤\n"
        "│ . . │ 3 . │\n"
        "│ . . │ . 4 │\n"
        "└─────┴─────┘"
    )


def test_an_answer_fills_the_blanks_and_leaves_the_clues() -> None:
    puzzles = get_task("sudoku9").puzzles("test", 40, 1)
    drawn = render(puzzles.inputs[0], puzzles.labels[0])
    digits = [int(sign) + 1 for sign in drawn if sign.isdigit()]
    assert digits == puzzles.labels[0].tolist()
    assert render(puzzles.inputs[0]).count(".") == 40
    assert drawn.count("\n") == 12
