from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from trm_export.errors import UsageError
from trm_export.tasks import count_solutions, get_task, solve
from trm_export.tasks import hard as hard_module
from trm_export.tasks.bases import SPLITS, Bases, load_bases
from trm_export.tasks.hard import LEVELS, load_hard, make_yardstick, rate, save_hard
from trm_export.tasks.solver import count_guesses
from trm_export.tasks.symmetry import apply, grid_invariants, random_symmetries

SEED = 21  # of the shipped file


def every_base() -> Bases:
    parts = [load_bases(9, split) for split in SPLITS]
    fields = zip(*((p.solutions, p.clues, p.minimal) for p in parts), strict=True)
    return Bases(*(np.concatenate(field) for field in fields))


def puzzles_of(split: str, count: int) -> np.ndarray:
    bases = load_hard(split).bases
    rows = np.random.default_rng(0).permutation(len(bases))[:count]
    return np.where(bases.clues[rows], bases.solutions[rows], 1)


def units() -> list[list[int]]:
    rows = [[9 * r + c for c in range(9)] for r in range(9)]
    columns = [[9 * r + c for r in range(9)] for c in range(9)]
    boxes = [[27 * b + 3 * s + 9 * r + c for r in range(3) for c in range(3)]
             for b in range(3) for s in range(3)]  # fmt: skip
    return rows + columns + boxes


def singles_solve(board: list[int]) -> bool:
    """Whether naked and hidden singles finish a board of tokens: slow and independent."""
    options = [{token} if token > 1 else set(range(2, 11)) for token in board]
    changed = True
    while changed:
        before = [set(cell) for cell in options]
        for unit in units():
            for cell in unit:
                if len(options[cell]) == 1:
                    for other in unit:
                        options[other] -= options[cell] if other != cell else set()
            for digit in range(2, 11):
                places = [cell for cell in unit if digit in options[cell]]
                if len(places) == 1:
                    options[places[0]] = {digit}
        changed = before != options
    return all(len(cell) == 1 for cell in options)


def test_a_puzzle_without_guesses_is_one_that_singles_solve() -> None:
    bases = load_bases(9, "test")
    puzzles = np.where(bases.clues, bases.solutions, 1)[:120]
    guesses = count_guesses(puzzles)
    assert [n == 0 for n in guesses] == [singles_solve(board) for board in puzzles.tolist()]
    assert 0.2 < (guesses > 0).mean() < 0.9


def test_whether_guesses_are_needed_is_the_same_in_every_symmetry() -> None:
    bases = load_bases(9, "test")
    puzzles = np.where(bases.clues, bases.solutions, 1)[:500]
    turned = apply(puzzles, *random_symmetries(len(puzzles), 9, np.random.default_rng(1)))
    first, second = count_guesses(puzzles), count_guesses(turned)
    assert ((first > 0) == (second > 0)).all()


def test_a_rating_says_more_than_one_count() -> None:
    bases = load_hard("test").bases
    puzzles = np.where(bases.clues, bases.solutions, 1)[::4]
    turned = apply(puzzles, *random_symmetries(len(puzzles), 9, np.random.default_rng(1)))
    logs = [np.log(f(p)) for f in (rate, count_guesses) for p in (puzzles, turned)]
    rated, counted = np.corrcoef(*logs[:2])[0, 1], np.corrcoef(*logs[2:])[0, 1]
    assert rated > 0.9
    assert counted < rated - 0.1
    assert (rate(puzzles[:50]) == rate(puzzles[:50])).all()


def test_more_clues_need_no_more_guesses() -> None:
    bases = load_hard("validation").bases
    eased = np.where(bases.clues, bases.solutions, 1)[:200]
    eased[:, :40] = bases.solutions[:200, :40]
    assert (rate(eased) <= load_hard("validation").guesses[:200]).mean() > 0.95


@pytest.mark.parametrize(("split", "count"), [("validation", 1000), ("test", 2000)])
def test_the_yardstick_has_a_quarter_of_every_level(split: str, count: int) -> None:
    hard = load_hard(split)
    assert len(hard) == count
    assert [len(rows) for rows in hard.levels] == [count // len(LEVELS)] * len(LEVELS)
    puzzles = np.where(hard.bases.clues, hard.bases.solutions, 1)
    assert (count_guesses(puzzles) > 0).all()
    assert np.corrcoef(np.log(rate(puzzles)), np.log(hard.guesses))[0, 1] > 0.9


def test_hard_puzzles_for_training_are_the_training_bases_that_need_guesses() -> None:
    hard, bases = load_hard("train"), load_bases(9, "train")
    assert 0.5 < len(hard) / len(bases) < 0.7
    assert sum(map(len, hard.levels)) == len(hard)
    needed = count_guesses(np.where(bases.clues, bases.solutions, 1)[:3000]) > 0
    assert (hard.bases.clues[: needed.sum()] == bases.clues[:3000][needed]).all()


@pytest.mark.parametrize("split", SPLITS)
def test_hard_puzzles_have_one_solution_and_no_spare_clue(split: str) -> None:
    puzzles = puzzles_of(split, 20)
    assert (count_solutions(puzzles) == 1).all()
    fewer = np.repeat(puzzles, 81, axis=0)
    fewer[np.arange(len(fewer)), np.tile(np.arange(81), len(puzzles))] = 1
    changed = (fewer != np.repeat(puzzles, 81, axis=0)).any(axis=1)
    assert (count_solutions(fewer[changed]) == 2).all()


def test_the_yardstick_s_grids_are_in_no_other_split_under_any_symmetry() -> None:
    grids = [every_base().solutions]
    grids += [load_hard(split).bases.solutions for split in ("validation", "test")]
    together = np.concatenate(grids)
    assert len(np.unique(grid_invariants(together), axis=0)) == len(together)


def test_the_same_seed_makes_the_shipped_puzzles(tmp_path: Path) -> None:
    made, tried = make_yardstick({"test": 4}, SEED, every_base())
    shipped = load_hard("test")
    first = [rows[0] for rows in shipped.levels]
    assert (made["test"].bases.solutions == shipped.bases.solutions[first]).all()
    assert (made["test"].bases.clues == shipped.bases.clues[first]).all()
    assert tried % 1024 == 0
    for name in ("a.npz", "b.npz"):
        save_hard(tmp_path / name, made, np.zeros(3, np.uint16), SEED, tried)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_what_was_saved_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = load_hard("validation")
    save_hard(tmp_path / "sudoku9-hard.npz", {"validation": part}, np.zeros(3, np.uint16), 1, 2)
    monkeypatch.setattr(hard_module, "DATA", tmp_path)
    loaded = load_hard.__wrapped__("validation")
    assert (loaded.bases.solutions == part.bases.solutions).all()
    assert (loaded.bases.clues == part.bases.clues).all()
    assert (loaded.guesses == part.guesses).all()


def test_a_yardstick_is_as_long_as_its_levels_allow() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        make_yardstick({"test": 5}, 0, every_base())


def test_the_task_gives_hard_puzzles_in_random_symmetries() -> None:
    task = get_task("sudoku9")
    puzzles = task.puzzles("test", "hard", 300)
    assert (solve(puzzles.inputs) == puzzles.labels).all()
    assert (count_guesses(puzzles.inputs) > 0).all()
    assert (puzzles.blanks == (puzzles.inputs == 1).sum(axis=1)).all()
    again = task.puzzles("test", "hard", 300)
    assert (again.inputs == puzzles.inputs).all()
    with pytest.raises(UsageError, match="sudoku4 has no hard puzzles; use sudoku9"):
        get_task("sudoku4").puzzles("test", "hard")
    with pytest.raises(UsageError, match="sudoku9 has 2000 test puzzles for blanks=hard"):
        task.puzzles("test", "hard", 2001)
    with pytest.raises(UsageError, match=r"has [\d,]+ test puzzles; ask for that many or fewer"):
        task.puzzles("test", None, 99_999_999)


def test_a_fraction_of_a_batch_is_hard_and_no_level_rare() -> None:
    task = get_task("sudoku9")
    inputs, labels = next(task.batches(2000, (10, 20), hard_fraction=0.4))
    hard = (inputs == 1).sum(axis=1) > 30
    assert hard.mean() == pytest.approx(0.4, abs=0.05)
    assert (solve(inputs[hard]) == labels[hard]).all()
    guesses = rate(inputs[hard])
    for least, most in LEVELS:
        share = ((guesses >= least) & (guesses <= most)).mean()
        assert share == pytest.approx(0.25, abs=0.12)  # other symmetries are rated here


def test_the_other_rows_of_a_batch_are_those_of_the_plain_stream() -> None:
    task = get_task("sudoku9")
    plain = itertools.islice(task.batches(64, (30, 40), 5), 3)
    mixed = itertools.islice(task.batches(64, (30, 40), 5, hard_fraction=0.5), 3)
    for (first, _), (second, _) in zip(plain, mixed, strict=True):
        same = (first == second).all(axis=1)
        assert 0.2 < same.mean() < 0.8
        assert (((second == 1).sum(axis=1) > 45) == ~same).all()


def test_a_batch_may_have_no_hard_row() -> None:
    stream = get_task("sudoku9").batches(1, (10, 20), hard_fraction=0.5)
    blanks = [int((next(stream)[0] == 1).sum()) for _ in range(40)]
    assert 5 < sum(found > 30 for found in blanks) < 35
    assert rate(np.empty((0, 81), np.int32)).shape == (0,)


def test_impossible_fractions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"hard_fraction must be 0 to 1, got 1\.5\.$"):
        get_task("sudoku9").batches(8, hard_fraction=1.5)
    with pytest.raises(UsageError, match="sudoku4 has no hard puzzles"):
        get_task("sudoku4").batches(8, hard_fraction=0.5)
    for name in ("maze9", "maze11"):
        with pytest.raises(UsageError, match=r"hard_fraction must be 0, got 0\.5, because a maze "):
            get_task(name).batches(8, hard_fraction=0.5)
