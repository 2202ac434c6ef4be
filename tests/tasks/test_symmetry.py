from __future__ import annotations

import numpy as np
import pytest

from trm_export.tasks import check_answers, count_solutions
from trm_export.tasks.bases import load_bases
from trm_export.tasks.solver import random_grids
from trm_export.tasks.symmetry import (
    apply,
    automorphisms,
    canonical_puzzles,
    cell_symmetries,
    grid_invariants,
    random_symmetries,
)


@pytest.mark.parametrize("side", [4, 9])
def test_a_symmetry_keeps_grids_valid_and_moves_puzzle_and_solution_together(side: int) -> None:
    rng = np.random.default_rng(0)
    grids = random_grids(400, side, rng) + 2
    puzzles = np.where(rng.random(grids.shape) < 0.4, 1, grids)
    cells, tokens = random_symmetries(400, side, rng)
    moved, answers = apply(puzzles, cells, tokens), apply(grids, cells, tokens)
    assert moved.dtype == answers.dtype == np.int32
    checks = check_answers(moved, answers, answers)
    assert checks.valid.all()
    assert ((moved == 1).sum(axis=1) == (puzzles == 1).sum(axis=1)).all()


def test_random_4x4_symmetries_reach_the_whole_group() -> None:
    cells, tokens = random_symmetries(6000, 4, np.random.default_rng(3))
    found = {row.tobytes() for row in cells}
    assert found == {row.tobytes() for row in cell_symmetries(4)}
    assert len(found) == 128
    assert len({row.tobytes() for row in tokens}) == 24
    assert (tokens[:, :2] == [0, 1]).all()


def test_symmetry_keeps_the_number_of_solutions() -> None:
    rng = np.random.default_rng(4)
    bases = load_bases(9, "test")
    shown = bases.clues[:200] & (rng.random((200, 81)) > 0.02)
    puzzles = np.where(shown, bases.solutions[:200], 1)
    before = count_solutions(puzzles)
    after = count_solutions(apply(puzzles, *random_symmetries(200, 9, rng)))
    assert (before == after).all()
    assert set(before.tolist()) == {1, 2}


def test_the_grid_invariant_is_invariant() -> None:
    rng = np.random.default_rng(6)
    grids = random_grids(500, 9, rng) + 2
    invariants = grid_invariants(grids)
    for _ in range(4):
        moved = apply(grids, *random_symmetries(500, 9, rng))
        assert (grid_invariants(moved) == invariants).all()


def test_the_grid_invariant_tells_random_grids_apart() -> None:
    grids = random_grids(2000, 9, np.random.default_rng(7))
    assert len(np.unique(grid_invariants(grids), axis=0)) >= 1998


def test_the_canonical_puzzle_is_the_same_for_every_symmetry() -> None:
    rng = np.random.default_rng(8)
    grids = random_grids(300, 4, rng) + 2
    puzzles = np.where(rng.random(grids.shape) < 0.5, 1, grids)
    numbers = canonical_puzzles(puzzles)
    moved = apply(puzzles, *random_symmetries(300, 4, rng))
    assert (canonical_puzzles(moved) == numbers).all()
    assert len(np.unique(numbers)) > 100


def test_an_automorphism_keeps_the_grid_up_to_relabelling() -> None:
    grid = np.array([int(d) + 1 for d in "1234341221434321"])
    kept = automorphisms(grid)
    assert len(kept) == 32  # 128 * 24 symmetries / the 96 grids of this class
    for cells in kept:
        pairs = set(zip(grid.tolist(), grid[cells].tolist(), strict=True))
        assert len(pairs) == 4


def test_the_9x9_group_is_not_listed() -> None:
    with pytest.raises(ValueError, match="4x4"):
        cell_symmetries(9)
