from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trm_export.tasks import bases as bases_module
from trm_export.tasks import check_answers, count_solutions
from trm_export.tasks.bases import SPLITS, load_bases, make_bases, save_bases
from trm_export.tasks.solver import solve
from trm_export.tasks.symmetry import canonical_puzzles, grid_invariants

COUNTS = {"test": 20, "validation": 10, "train": 30}


def test_the_shipped_sizes() -> None:
    assert {split: len(load_bases(9, split)) for split in SPLITS} == {
        "train": 60000,
        "validation": 1000,
        "test": 2500,
    }


def test_9x9_grids_of_all_splits_differ_under_every_symmetry() -> None:
    grids = np.concatenate([load_bases(9, split).solutions for split in SPLITS])
    assert len(np.unique(grid_invariants(grids), axis=0)) == len(grids)


@pytest.mark.parametrize("split", SPLITS)
def test_every_9x9_grid_is_valid(split: str) -> None:
    grids = load_bases(9, split).solutions
    assert check_answers(np.ones_like(grids), grids, grids).valid.all()


@pytest.mark.parametrize("split", SPLITS)
def test_9x9_bases_have_one_solution_and_no_spare_clue(split: str) -> None:
    bases = load_bases(9, split)
    rows = np.random.default_rng(0).permutation(len(bases))[:400]
    puzzles = np.where(bases.clues[rows], bases.solutions[rows], 1)
    assert (count_solutions(puzzles) == 1).all()
    assert (solve(puzzles) == bases.solutions[rows]).all()
    fewer = np.repeat(puzzles[:30], 81, axis=0)
    fewer[np.arange(len(fewer)), np.tile(np.arange(81), 30)] = 1
    changed = (fewer != np.repeat(puzzles[:30], 81, axis=0)).any(axis=1)
    assert (count_solutions(fewer[changed]) == 2).all()


def test_there_are_two_4x4_grids_up_to_symmetry() -> None:
    grids = bases_module._all_grids_4x4() + 2
    assert len(grids) == 288
    classes, sizes = np.unique(canonical_puzzles(grids), return_counts=True)
    assert sorted(sizes.tolist()) == [96, 192]
    chosen = np.array([[int(d) + 1 for d in grid] for grid in bases_module._GRIDS_4X4])
    assert sorted(canonical_puzzles(chosen).tolist()) == sorted(classes.tolist())


def test_4x4_puzzles_are_all_different_under_every_symmetry() -> None:
    parts = [load_bases(4, split) for split in SPLITS]
    puzzles = np.concatenate([np.where(part.clues, part.solutions, 1) for part in parts])
    assert len(np.unique(canonical_puzzles(puzzles))) == len(puzzles)
    assert (count_solutions(puzzles) == 1).all()


def test_4x4_bases_are_every_one_solution_puzzle() -> None:
    """The minimal 4x4 puzzles are known: 36 classes, 13 of 4 clues, 22 of 5 and one of 6."""
    clues = np.concatenate(
        [16 - load_bases(4, split).blanks[load_bases(4, split).minimal] for split in SPLITS]
    )
    assert np.bincount(clues).tolist() == [0, 0, 0, 0, 13, 22, 1]


def test_4x4_splits_have_their_shares_at_every_usual_level() -> None:
    counts = {split: np.bincount(load_bases(4, split).blanks, minlength=13) for split in SPLITS}
    total = sum(counts.values())
    for level in range(4, 12):
        assert counts["train"][level] / total[level] == pytest.approx(0.6, abs=0.03)
        assert counts["test"][level] / total[level] == pytest.approx(0.3, abs=0.03)
    assert all(count[12] >= 1 for count in counts.values())


def test_making_bases_is_deterministic_and_written_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases_module, "_CHUNK", 64)
    seen: list[tuple[int, int]] = []
    made = make_bases(9, COUNTS, 3, lambda done, total: seen.append((done, total)))
    assert seen == [(60, 60)]
    assert {split: len(part) for split, part in made.items()} == COUNTS
    more = make_bases(9, COUNTS | {"train": 34}, 3)
    kept = {split: more[split] for split in ("test", "validation")}
    assert (made["train"].solutions == more["train"].solutions[:30]).all()
    save_bases(tmp_path / "a.npz", {split: made[split] for split in kept}, 3)
    save_bases(tmp_path / "b.npz", kept, 3)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_bases_come_back_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = load_bases(9, "validation")
    save_bases(tmp_path / "sudoku9.npz", {"validation": kept}, 1)
    monkeypatch.setattr(bases_module, "DATA", tmp_path)
    read = load_bases.__wrapped__(9, "validation")
    assert (read.solutions == kept.solutions).all()
    assert (read.clues == kept.clues).all()
    assert read.minimal.all()


def test_4x4_bases_are_not_made() -> None:
    with pytest.raises(ValueError, match="Bases can be made for 9x9 only, got 4x4"):
        make_bases(4, {"test": 1}, 0)
