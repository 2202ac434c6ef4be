from __future__ import annotations

import itertools

import numpy as np
import pytest

from trm_export.tasks import MazeTask, get_task
from trm_export.tasks.maze_grids import fill_dead_ends, fingerprints, paths_from, random_mazes
from trm_export.tasks.task import SPLITS
from trm_runtime.errors import UsageError

WALL, OPEN, START, GOAL, PATH = range(1, 6)


def maze(side: int = 11) -> MazeTask:
    task = get_task(f"maze{side}")
    assert isinstance(task, MazeTask)
    return task


def board(*rows: str) -> np.ndarray:
    return np.array([["?#.SGo".index(sign) for sign in "".join(rows)]], np.int32)


def count_paths(board: np.ndarray) -> list[int]:
    """Lengths of all ways from S to G that visit no cell twice, by plain search."""
    side = round(len(board) ** 0.5)
    found: list[int] = []

    def walk(cell: int, seen: frozenset[int]) -> None:
        if board[cell] == GOAL:
            found.append(len(seen) - 2)
            return
        for step in (-1, 1, -side, side):
            if board[cell + step] != WALL and cell + step not in seen:
                walk(cell + step, seen | {cell + step})

    start = int(np.flatnonzero(board == START)[0])
    walk(start, frozenset([start]))
    return sorted(found)


def test_mazes_without_loops_have_one_way_between_any_two_cells() -> None:
    for side, branching in itertools.product((5, 11, 12), (0.0, 0.5, 1.0)):
        mazes = random_mazes(50, side, 0, np.random.default_rng(1), branching=branching)
        assert not mazes[:, 0].any()
        assert not mazes[:, :, -1].any()
        rooms = ((side - 1) // 2) ** 2
        assert (mazes.sum(axis=(1, 2)) == 2 * rooms - 1).all()  # a tree of rooms and openings
        starts = mazes.reshape(50, -1).argmax(axis=1)
        steps, ways = paths_from(mazes, starts)
        assert ((steps >= 0) == mazes.reshape(50, -1)).all()
        assert ways.max() == 1


def test_branching_mazes_have_more_dead_ends() -> None:
    counts = []
    for branching in (0.0, 0.5, 1.0):
        mazes = random_mazes(50, 11, 0, np.random.default_rng(1), branching=branching)
        filled = fill_dead_ends(mazes, np.zeros_like(mazes), 1)
        counts.append((mazes & ~filled).sum())
    assert counts[0] < counts[1] < counts[2]


def test_some_mazes_have_loops_and_no_more_than_asked_for() -> None:
    mazes = random_mazes(300, 11, 2, np.random.default_rng(1))
    opened = mazes.sum(axis=(1, 2)) - 49
    assert set(opened.tolist()) == {0, 1, 2}


def test_shortest_paths_are_counted() -> None:
    free = np.zeros((1, 5, 5), np.bool_)
    free[0, 1:4, 1:4] = True
    free[0, 2, 2] = False
    steps, ways = paths_from(free, np.array([6]))
    assert steps[0, [6, 7, 8, 13, 18, 12, 0]].tolist() == [0, 1, 2, 3, 4, -1, -1]
    assert ways[0, [6, 7, 8, 13, 18, 12, 0]].tolist() == [1, 1, 1, 1, 2, 0, 0]


def test_fingerprints_do_not_see_turns_and_reflections() -> None:
    mazes = random_mazes(40, 11, 2, np.random.default_rng(2))
    keys = fingerprints(mazes)
    assert len(set(keys)) == 40
    assert fingerprints(np.rot90(mazes, 1, (1, 2))) == keys
    assert fingerprints(mazes[:, ::-1]) == keys
    assert fingerprints(mazes.transpose(0, 2, 1)) == keys


@pytest.mark.parametrize("split", SPLITS)
def test_every_maze_has_one_shortest_path_and_the_label_is_it(split: str) -> None:
    puzzles = maze().puzzles(split, count=40)
    for tokens, label, length in zip(
        puzzles.inputs, puzzles.solutions, puzzles.blanks, strict=True
    ):
        lengths = count_paths(tokens)
        assert lengths.count(lengths[0]) == 1
        assert lengths[0] == length == (label == PATH).sum()
        assert (np.where(label == PATH, OPEN, label) == tokens).all()
    checks = maze().check(puzzles.inputs, puzzles.solutions, puzzles.solutions)
    assert checks.valid.all()
    assert puzzles.inputs.dtype == puzzles.solutions.dtype == np.int32


def test_no_maze_of_one_split_is_in_another_however_turned() -> None:
    seen: dict[str, set[bytes]] = {}
    for split in SPLITS:
        inputs = maze().puzzles(split, count=400).inputs
        walls = (inputs != WALL).reshape(-1, 11, 11)
        seen[split] = set(fingerprints(walls))
        assert len(seen[split]) == 400
    batches = itertools.islice(maze().batches(200), 5)
    walls = np.concatenate([inputs for inputs, _ in batches]).reshape(-1, 11, 11) != WALL
    seen["train"] |= set(fingerprints(walls))
    assert not seen["train"] & (seen["validation"] | seen["test"])
    assert not seen["validation"] & seen["test"]


def test_the_dial_is_the_length_of_the_path() -> None:
    assert (maze().puzzles("test", 12, 30).blanks == 12).all()
    ranged = maze().puzzles("test", (3, 6), 60).blanks
    assert set(ranged.tolist()) == {3, 4, 5, 6}
    least, most = maze().blanks_range
    default = maze().puzzles("test", count=200).blanks
    assert least <= default.min() < default.max() <= most


def test_large_mazes_of_an_even_side() -> None:
    puzzles = maze(30).puzzles("test", count=5)
    assert puzzles.inputs.shape == (5, 900)
    assert maze(30).check(puzzles.inputs, puzzles.solutions, puzzles.solutions).valid.all()


def test_the_same_arguments_give_the_same_mazes() -> None:
    sets = (maze().puzzles("test", count=50, seed=3) for _ in range(2))
    once, again = sets
    assert (once.inputs == again.inputs).all()
    assert (once.inputs[:20] == maze().puzzles("test", count=20, seed=3).inputs).all()
    assert (once.inputs != maze().puzzles("test", count=50, seed=4).inputs).any()
    streams = (itertools.islice(maze().batches(7, (4, 9), 5), 60) for _ in range(2))
    for first, second in zip(*streams, strict=True):
        assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_goals_fill_dead_ends_until_the_path_is_left() -> None:
    task = maze(9)
    puzzles = task.puzzles("train", count=60)
    asked = [task.lesson(puzzles.inputs, puzzles.solutions, n) for n in range(task.lessons + 1)]
    paths = [(labels == PATH).sum() for labels in asked]
    assert paths == sorted(paths, reverse=True)
    assert paths[0] == (puzzles.inputs == OPEN).sum()
    assert paths[-1] < paths[0]
    for labels in asked:
        assert labels.dtype == np.int32
        assert (np.where(labels == PATH, OPEN, labels) == puzzles.inputs).all()
        assert (labels[puzzles.solutions == PATH] == PATH).all()
    assert (task.lesson(puzzles.inputs, puzzles.solutions, 49) == puzzles.solutions).all()


def test_a_board_that_has_too_few_mazes_says_so() -> None:
    small = MazeTask("small", 5, (1, 5), 0, (None,))
    with pytest.raises(UsageError, match=r"found only \d+ train mazes? with 1 to 5 path"):
        small.puzzles("train", count=100)


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(UsageError, match="path cells"):
        maze().puzzles("test", "minimal", 5)
    with pytest.raises(UsageError, match="no mazes found with 110 to 110 path cells"):
        maze().puzzles("test", 110, 5)
    with pytest.raises(UsageError, match="maze11: count must be a whole number, 1 or more, got 0"):
        maze().puzzles("test", count=0)
    with pytest.raises(UsageError, match="no minimal form"):
        maze().batches(8, minimal_fraction=0.5)
    with pytest.raises(UsageError, match="train, validation, test"):
        maze().batches(8, split="tests")


def test_answers_are_judged_by_the_way_they_show() -> None:
    puzzle = board("#####", "#S..#", "#.#.#", "#..G#", "#####")
    first = board("#####", "#Soo#", "#.#o#", "#..G#", "#####")
    other = board("#####", "#S..#", "#o#.#", "#ooG#", "#####")
    broken = board("#####", "#So.#", "#.#o#", "#..G#", "#####")
    more = board("#####", "#Soo#", "#o#o#", "#..G#", "#####")
    moved = board("#####", "#Soo#", "#..o#", "#..G#", "#####")
    for answer, exact, valid in (
        (first, True, True),
        (other, False, True),
        (broken, False, False),
        (more, False, False),
        (moved, False, False),
    ):
        checks = get_task("maze11").check(puzzle, answer, first)
        assert (checks.exact[0], checks.valid[0]) == (exact, valid)
    assert get_task("maze11").check(puzzle, broken, first).cell_accuracy[0] == 5 / 6 - 1 / 6 + 1 / 6


def test_a_maze_is_drawn_two_columns_a_cell() -> None:
    puzzle = board("#####", "#S..#", "#.#.#", "#..G#", "#####")[0]
    label = board("#####", "#Soo#", "#.#o#", "#..G#", "#####")[0]
    assert maze().render(puzzle, label) == (
        "██████████\n██S ● ● ██\n██  ██● ██\n██    G ██\n██████████"
    )
    assert "●" not in maze().render(puzzle)
