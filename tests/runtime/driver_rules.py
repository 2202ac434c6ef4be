"""What every driver of a toy step must do, whatever its engine."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tests.runtime.fakes import assert_solved, make_puzzles
from trm_runtime import StepRunner, initial_carry, solve


def takes_other_integers_strides_and_batches(runner: StepRunner) -> None:
    """Puzzles of int64 in another order, every second row of a carry, and any number of rows."""
    for count in (5, 1, 7):
        puzzles = np.asfortranarray(make_puzzles(count).astype(np.int64))
        carry = initial_carry(runner.contract, 2 * count)
        out = runner.step({"inputs": puzzles}, {name: x[::2] for name, x in carry.items()})
        np.testing.assert_array_equal(out.carry["current_inputs"], puzzles)


def lets_threads_take_turns(runner: StepRunner) -> None:
    """Four threads solve with one runner, each its own puzzles."""
    solutions: dict[int, Any] = {}
    puzzles = [make_puzzles(20, seed) for seed in range(4)]

    def work(index: int) -> None:
        solutions[index] = solve(runner, puzzles[index], batch_size=index + 3)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index, rows in enumerate(puzzles):
        assert_solved(solutions[index], rows, rows[:, 0])
