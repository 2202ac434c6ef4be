from __future__ import annotations

import numpy as np
import pytest

from trm_export.tasks.arc_grids import Symmetry, checked_grid, decode, encode, random_symmetry
from trm_runtime.errors import RejectedInputError

GRID = np.array([[1, 0, 2], [3, 4, 9]], np.uint8)


def test_a_grid_has_its_end_below_and_to_the_right() -> None:
    board = encode(GRID).reshape(30, 30)
    assert board[:3, :4].tolist() == [[3, 2, 4, 1], [5, 6, 11, 1], [1, 1, 1, 0]]
    assert board.sum() == 3 + 2 + 4 + 5 + 6 + 11 + 5
    assert encode(GRID).dtype == np.int32


def test_an_end_that_lies_beyond_the_board_is_left_out() -> None:
    full = np.full((30, 30), 7, np.uint8)
    assert (encode(full) == 9).all()
    corner = encode(GRID, (28, 27)).reshape(30, 30)
    assert (corner == 1).sum() == 0


def test_grids_come_back_from_anywhere() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = rng.integers(1, 31, 2)
        grid = rng.integers(0, 10, shape).astype(np.uint8)
        corner = tuple(int(rng.integers(31 - size)) for size in shape)
        back = decode(encode(grid, corner))
        assert back is not None
        assert (back == grid).all()


def test_what_a_model_writes_beside_its_grid_does_not_count() -> None:
    board = encode(GRID).reshape(30, 30).copy()
    board[5, 0] = board[0, 9] = 4
    back = decode(board.reshape(-1))
    assert back is not None
    assert (back == GRID).all()
    assert decode(np.ones(900, np.int32)) is None


def test_every_symmetry_can_be_undone_and_all_turns_differ() -> None:
    grid = np.arange(6, dtype=np.uint8).reshape(2, 3)
    seen = {Symmetry(turn).apply(grid).tobytes() + bytes([turn % 2]) for turn in range(8)}
    assert len(seen) == 8
    rng = np.random.default_rng(0)
    for _ in range(40):
        symmetry = random_symmetry(rng)
        assert symmetry.colours[0] == 0
        assert sorted(symmetry.colours) == list(range(10))
        assert (symmetry.undo(symmetry.apply(GRID)) == GRID).all()


def test_foreign_grids_are_refused() -> None:
    with pytest.raises(
        RejectedInputError, match=r"^x: expected a grid of 1x1 to 30x30, got 1x31\.$"
    ):
        checked_grid([[1] * 31], "x")
    with pytest.raises(RejectedInputError, match="colours 0 to 9"):
        checked_grid([[10]], "x")
