from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from trm_export.tasks import check_answers, get_task, render
from trm_runtime.streams import prepare_streams


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


def test_boards_are_drawn_in_ascii_where_the_encoding_lacks_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe of Windows has cp1252, a terminal without a locale ASCII."""
    sudoku, maze = get_task("sudoku4"), get_task("maze9")
    for encoding in ("ascii", "cp1252"):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        prepare_streams()
        boards = (
            sudoku.render(np.array([1, 2, 3, 4] * 4)),
            maze.render(maze.puzzles("test", 9, 1).labels[0]),
            get_task("arc1").render(np.arange(900) % 12),
        )
        sys.stdout.write("\n".join([*boards, "π of \N{SNOWMAN}\n"]))
        sys.stdout.flush()
        text = written.getvalue().decode(encoding)
        assert text.startswith("+-----+-----+\n| . 1 | 2 3 |\n")
        assert "\n##" in text
        assert "o " in text
        assert text.endswith("\\u03c0 of \\u2603\n")
        assert text.count("\\") == 2
