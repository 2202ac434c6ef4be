"""The symmetries in a contract turn puzzles with their answers into others, and make them all."""

from __future__ import annotations

import numpy as np
import pytest

from trm_export.tasks import TASKS, get_task, known_symmetries
from trm_export.tasks.arc_grids import Symmetry, decode, encode
from trm_export.tasks.symmetry import cell_symmetries


@pytest.mark.parametrize("name", ["sudoku4", "sudoku9", "maze9", "maze11"])
def test_every_generator_makes_puzzles_with_valid_answers(name: str) -> None:
    task = get_task(name)
    puzzles, symmetries = task.puzzles("test", count=6), task.symmetries
    renamed = np.arange(task.vocab_size, dtype=np.int32)
    for ids in symmetries.tokens:
        renamed[list(ids)] = np.roll(ids, 1)
    for order in symmetries.positions:
        inputs, labels = (renamed[rows[:, order]] for rows in (puzzles.inputs, puzzles.solutions))
        assert task.check(inputs, labels, labels).valid.all()
        assert not (inputs == puzzles.inputs).all(axis=1).any()


def group(orders: tuple[tuple[int, ...], ...]) -> set[tuple[int, ...]]:
    """Everything that products of the generators reach."""
    found = {tuple(range(len(orders[0])))}
    fresh = list(found)
    while fresh:
        made = {tuple(np.array(one)[list(order)].tolist()) for one in fresh for order in orders}
        fresh = list(made - found)
        found |= made
    return found


def test_they_generate_all_cell_symmetries_of_a_small_sudoku_and_of_a_maze() -> None:
    wanted = {tuple(order) for order in cell_symmetries(4).tolist()}
    assert group(get_task("sudoku4").symmetries.positions) == wanted
    assert len(group(get_task("maze9").symmetries.positions)) == 8


def test_those_of_a_9x9_sudoku_bring_each_row_anywhere() -> None:
    """The group has 2 * 6**8 orders of cells: a first cell goes anywhere, and so do rows apart."""
    orders = [np.array(order) for order in get_task("sudoku9").symmetries.positions]
    for start in ((0, 10), (0, 30), (0, 1), (3, 6)):  # pairs of cells in all relations
        reached, fresh = {start}, [start]
        while fresh:
            made = {(int(o[a]), int(o[b])) for a, b in fresh for o in map(np.argsort, orders)}
            fresh = list(made - reached)
            reached |= made
        kind = relation(*start)
        assert reached == {
            (a, b) for a in range(81) for b in range(81) if a != b and relation(a, b) == kind
        }


def relation(one: int, other: int) -> tuple[int, ...]:
    """How near two cells are in rows and in columns (0 the same, 1 in a band, 2 apart), sorted."""
    lines = zip(divmod(one, 9), divmod(other, 9), strict=True)
    return tuple(sorted((a != b) + (a // 3 != b // 3) for a, b in lines))


def test_those_of_arc_transpose_the_grid_and_rename_all_colours_but_black() -> None:
    (order,), (colours,) = get_task("arc1").symmetries.positions, get_task("arc1").symmetries.tokens
    grid = np.random.default_rng(0).integers(0, 10, (4, 7)).astype(np.uint8)
    turned = decode(encode(grid)[list(order)])
    np.testing.assert_array_equal(turned, Symmetry(turn=4).apply(grid))
    np.testing.assert_array_equal(encode(grid)[list(order)], encode(grid.T))
    assert colours == tuple(range(3, 12))  # 2 is black


def test_a_model_has_those_of_the_task_with_its_alphabet() -> None:
    task = TASKS["sudoku9"]
    assert known_symmetries(task.alphabet, 81) == task.symmetries
    assert known_symmetries(None, 81) is None
    assert known_symmetries(task.alphabet, 80) is None
