from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from trm_export.tasks import PuzzleSet, check_answers, count_solutions, get_task
from trm_export.tasks.bases import SPLITS, load_bases
from trm_export.tasks.symmetry import canonical_puzzles, grid_invariants
from trm_runtime.errors import UsageError

LEVELS = [("sudoku4", level) for level in (4, 7, 10)] + [
    ("sudoku9", level) for level in (1, 30, 40, 50, 55, 58)
]


def assert_sound(puzzles: PuzzleSet) -> None:
    """One solution each, the labels are it, and the blanks are what is said."""
    assert puzzles.labels is not None
    assert puzzles.inputs.dtype == puzzles.labels.dtype == puzzles.blanks.dtype == np.int32
    assert check_answers(puzzles.inputs, puzzles.labels, puzzles.labels).valid.all()
    assert ((puzzles.inputs == 1).sum(axis=1) == puzzles.blanks).all()
    assert (count_solutions(puzzles.inputs) == 1).all()


def test_the_tasks_say_what_they_are() -> None:
    four, nine = get_task("sudoku4"), get_task("sudoku9")
    assert (four.seq_len, four.vocab_size, four.side) == (16, 6, 4)
    assert (nine.seq_len, nine.vocab_size, nine.side) == (81, 11, 9)
    assert nine.alphabet == ("", ".0_", *"123456789")
    assert len(four.alphabet) == four.vocab_size


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="sudoku4, sudoku9"):
        get_task("sudoku16")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_a_level_has_exactly_so_many_blanks(name: str, level: int, split: str) -> None:
    puzzles = get_task(name).puzzles(split, level, None if split == "test" else 20)
    assert (puzzles.blanks == level).all()
    assert_sound(PuzzleSet(puzzles.inputs[:300], puzzles.labels[:300], puzzles.blanks[:300]))


@pytest.mark.parametrize("name", ["sudoku4", "sudoku9"])
def test_ranges_minimal_and_the_default(name: str) -> None:
    task = get_task(name)
    ranged = task.puzzles("test", (6, 9), 200)
    assert set(ranged.blanks.tolist()) == {6, 7, 8, 9}
    assert_sound(ranged)
    minimal = task.puzzles("test", "minimal")
    assert len(minimal) == load_bases(task.side, "test").minimal.sum()
    assert_sound(minimal)
    default = task.puzzles("validation")
    least, most = task.blanks_range
    assert least <= default.blanks.min() < default.blanks.max() <= most


def test_the_same_arguments_give_the_same_puzzles() -> None:
    task = get_task("sudoku9")
    once, again = (task.puzzles("test", 45, 100, seed=2) for _ in range(2))
    assert (once.inputs == again.inputs).all()
    assert (once.labels == again.labels).all()
    assert (once.inputs != task.puzzles("test", 45, 100, seed=3).inputs).any()
    assert len(np.unique(task.puzzles("test", 45).inputs, axis=0)) == 2500


def test_the_tests_of_the_issue_are_there() -> None:
    for blanks in (30, 40, 45, 50, 55):
        assert len(get_task("sudoku9").puzzles("test", blanks, 2000)) == 2000
    assert len(get_task("sudoku4").puzzles("test", count=1000)) == 1000


def test_9x9_puzzles_of_different_splits_are_disjoint_up_to_symmetry() -> None:
    task = get_task("sudoku9")
    grids = [task.puzzles(split, 50, 900).labels for split in SPLITS]
    assert len(np.unique(grid_invariants(np.concatenate(grids)), axis=0)) == 2700


def test_4x4_puzzles_of_different_splits_are_disjoint_up_to_symmetry() -> None:
    task = get_task("sudoku4")
    stream = task.batches(4000, (1, 12), minimal_fraction=0.1)
    train = set(canonical_puzzles(next(stream)[0]).tolist())
    for split in ("validation", "test"):
        unseen = canonical_puzzles(task.puzzles(split, (1, 12)).inputs)
        assert len(np.unique(unseen)) == len(unseen)
        assert not train & set(unseen.tolist())


@pytest.mark.parametrize(("name", "span"), [("sudoku4", (4, 12)), ("sudoku9", (20, 64))])
def test_batches_are_sound_and_spread_over_the_range(name: str, span: tuple[int, int]) -> None:
    batches = get_task(name).batches(500, span)
    inputs, labels = (
        np.concatenate(part) for part in zip(*itertools.islice(batches, 2), strict=True)
    )
    blanks = (inputs == 1).sum(axis=1)
    assert_sound(PuzzleSet(inputs, labels, blanks.astype(np.int32)))
    assert len(np.unique(inputs, axis=0)) > 0.9 * len(inputs)
    levels = np.bincount(blanks, minlength=span[1] + 1)[span[0] : span[1] - 9 + (span[1] < 20) * 10]
    assert levels.min() > 0.4 * 1000 / (span[1] - span[0] + 1)


def test_9x9_batches_cut_no_base_below_the_range() -> None:
    inputs, _ = next(get_task("sudoku9").batches(300, (57, 60)))
    assert (inputs == 1).sum(axis=1).min() >= 57


def test_a_fraction_of_the_batch_is_minimal() -> None:
    inputs, _ = next(get_task("sudoku9").batches(2000, (10, 20), minimal_fraction=0.25))
    assert ((inputs == 1).sum(axis=1) > 40).mean() == pytest.approx(0.25, abs=0.05)


def test_the_stream_follows_its_seed() -> None:
    def take(seed: int) -> list[np.ndarray]:
        stream = get_task("sudoku9").batches(8, (30, 50), seed)
        return [array for pair in itertools.islice(stream, 3) for array in pair]

    first = take(1)
    assert all((a == b).all() for a, b in zip(first, take(1), strict=True))
    assert any((a != b).any() for a, b in zip(first, take(2), strict=True))
    assert (first[0] != first[2]).any()


@pytest.mark.parametrize("name", ["sudoku9", "maze9", "arc1"])
def test_blanks_of_numpy(name: str) -> None:
    task = get_task(name)
    for given, same in ((np.int64(16), 16), ((np.int8(9), 16), (9, 16))):
        found, wanted = (task.puzzles("test", blanks, 1) for blanks in (given, same))
        np.testing.assert_array_equal(found.inputs, wanted.inputs)
    with pytest.raises(UsageError, match=r"blanks must be .*, got 8\.0"):
        task.puzzles("test", 8.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("blanks", [0, 81, (40, 30), (0, 5), "harder", 8.0, (3,), [3, "4"]])
def test_impossible_blanks_are_refused(blanks: object) -> None:
    with pytest.raises(
        UsageError, match=r"^sudoku9: blanks must be .* within 1 to 80, minimal or hard"
    ):
        get_task("sudoku9").puzzles("test", blanks)  # type: ignore[arg-type]


def test_asking_for_more_than_there_are_says_how_many_there_are() -> None:
    with pytest.raises(UsageError, match="sudoku9 has 2500 test puzzles"):
        get_task("sudoku9").puzzles("test", 30, 2501)
    with pytest.raises(UsageError, match="sudoku9 has no test puzzle for blanks="):
        get_task("sudoku9").puzzles("test", 70)
    with pytest.raises(UsageError, match="sudoku9: count must be a whole number, 1 or more, got 0"):
        get_task("sudoku9").puzzles("test", 30, 0)


def test_wrong_splits_and_batch_arguments_are_refused_at_once() -> None:
    task = get_task("sudoku9")
    with pytest.raises(UsageError, match="train, validation, test"):
        task.puzzles("tests")
    with pytest.raises(UsageError, match="batch_size must be a whole number, 1 or more, got 0"):
        task.batches(0)
    with pytest.raises(UsageError, match=r"minimal_fraction must be 0 to 1, got 1\.5"):
        task.batches(8, minimal_fraction=1.5)
    with pytest.raises(UsageError, match="no train puzzles with 70 to 75 blanks"):
        task.batches(8, (70, 75))


@pytest.mark.parametrize("name", ["sudoku4", "sudoku9", "maze9", "arc1"])
def test_numbers_that_are_none_are_refused_in_a_sentence(name: str) -> None:
    task: Any = get_task(name)
    if not task.available:
        pytest.skip(f"the puzzles of {name} are not installed")
    for seed in (-1, 0.5, "0"):
        with pytest.raises(UsageError, match=f"{name}: seed must be a whole number, 0 or more"):
            task.puzzles("test", count=1, seed=seed)
        with pytest.raises(UsageError, match=f"{name}: seed must be a whole number, 0 or more"):
            task.batches(2, seed=seed)
    for count in (2.0, "2", 0, True):
        with pytest.raises(UsageError, match=f"{name}: count must be a whole number, 1 or more"):
            task.puzzles("test", count=count)
        with pytest.raises(UsageError, match=f"{name}: batch_size must be a whole number, 1 or"):
            task.batches(count)
    for share in ("0.5", None, float("nan")):
        with pytest.raises(UsageError, match=f"{name}: hard_fraction must be 0"):
            task.batches(2, hard_fraction=share)
    assert len(task.puzzles("test", count=np.int64(2), seed=np.int64(1))) == 2


def test_the_package_imports_no_framework() -> None:
    code = (
        "import sys, trm_export.tasks;"
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
