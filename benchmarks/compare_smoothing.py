"""ONNX int8 with channels made equal in size, and as they are: tables of docs/formats.md.

    python -m benchmarks.compare_smoothing [--count 200] [--solve 600]

The forced cosine of z_H over the first steps, of as many test puzzles of the default difficulty as
of minimal ones, and how many minimal puzzles are then solved.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import PuzzleSet, get_task
from trm_runtime import initial_carry, open_runner, solve
from trm_runtime.runner import StepRunner

Array = np.ndarray[Any, Any]

STEPS = 3
GATE = 0.998


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--solve", type=int, default=600)
    options = parser.parse_args()
    model, task = te.load(shipped_checkpoint("sudoku9")), get_task("sudoku9")
    keras = KerasRunner(model)
    with tempfile.TemporaryDirectory() as folder:
        plain, smooth = (Path(folder) / f"{name}.onnx" for name in ("plain", "smooth"))
        te.export(model, smooth, precision="int8")
        with mock.patch("trm_export.exporters.onnx.smoothed_weights", return_value={}):
            te.export(model, plain, precision="int8")
        runners = {"as they are": open_runner(plain), "equal in size": open_runner(smooth)}
        sets = [task.puzzles("test", blanks=blanks, count=options.count).inputs
                for blanks in (None, "minimal")]  # fmt: skip
        show_cosines(keras, runners, np.concatenate(sets))
        hard = task.puzzles("test", blanks="minimal", count=options.solve)
        solved = solve(keras, hard.inputs).answers == hard.solutions
        show_solved(runners, hard, solved.all(axis=1))


def show_cosines(keras: StepRunner, runners: Mapping[str, StepRunner], tokens: Array) -> None:
    """A row for each step and file, every step from the model's carry."""
    print(
        "| step | channels | median 1 - cosine | worst | puzzles below 0.998 |\n" + "|---" * 5 + "|"
    )
    carry = initial_carry(keras.contract, len(tokens))
    for step in range(1, STEPS + 1):
        wanted = keras.step({"inputs": tokens}, carry)
        for name, runner in runners.items():
            found = runner.step({"inputs": tokens}, carry).carry["z_H"]
            cosine = cosines(wanted.carry["z_H"], found)
            below = int((cosine < GATE).sum())
            median, worst = np.median(1 - cosine), np.max(1 - cosine)
            print(f"| {step} | {name} | {median:.1e} | {worst:.1e} | {below} |")
        carry = wanted.carry


def cosines(wanted: Array, found: Array) -> Array:
    """(n,) of states (n, ...)."""
    a, b = (x.astype(np.float64).reshape(len(x), -1) for x in (wanted, found))
    result: Array = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return result


def show_solved(runners: Mapping[str, StepRunner], puzzles: PuzzleSet, keras: Array) -> None:
    """How many puzzles each file solves; `keras` (n,) tells which Keras does."""
    print(f"\nOf {len(keras)} minimal puzzles Keras solves {keras.mean():.1%}.")
    for name, runner in runners.items():
        solved = (solve(runner, puzzles.inputs).answers == puzzles.solutions).all(axis=1)
        lost, won = int((keras & ~solved).sum()), int((solved & ~keras).sum())
        print(f"Channels {name}: {solved.mean():.1%}, {lost} lost, {won} won")


if __name__ == "__main__":
    main()
