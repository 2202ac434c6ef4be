"""ONNX int8 with and without what it takes from real steps: the table of docs/formats.md.

    python -m benchmarks.compare_int8_scales [--count 200] [--solve 600]

The distance of the forced cosine of z_H from 1 over the first steps, of as many test puzzles of the
default difficulty as of minimal ones; the processor time of a step of one puzzle on one thread, in
turns with ONNX Runtime's `quantize_dynamic`; and how many minimal puzzles are then solved.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from onnxruntime.quantization import quantize_dynamic

import trm_export as te
from benchmarks.compare_with_stock import step_times
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters import onnx_int8_calibrate
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import PuzzleSet, get_task
from trm_runtime import initial_carry, open_runner, solve
from trm_runtime.drivers.onnx_file import seal
from trm_runtime.runner import StepRunner

Array = np.ndarray[Any, Any]

STEPS = 3
GATE = 0.998
WITHOUT: dict[str, dict[str, Any]] = {
    "a scale a row": {"grids": {}, "channels": {}},
    "a scale a row, similar channels": {"grids": {}},
    "as exported": {},
}
"""The fields of `Int8Scales` that each file has to do without."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--solve", type=int, default=600)
    options = parser.parse_args()
    model, task = te.load(shipped_checkpoint("sudoku9")), get_task("sudoku9")
    keras = KerasRunner(model)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{i}.onnx") for i, name in enumerate(WITHOUT)}
        for name, path in paths.items():
            export_without(WITHOUT[name], model, path)
        runners = {name: open_runner(path) for name, path in paths.items()}
        sets = [task.puzzles("test", blanks=blanks, count=options.count)
                for blanks in (None, "minimal")]  # fmt: skip
        show_cosines(keras, runners, np.concatenate([one.inputs for one in sets]))
        show_times(paths, sets[0], Path(folder, "plain.onnx"), model)
        hard = task.puzzles("test", blanks="minimal", count=options.solve)
        solved = solve(keras, hard.inputs).answers == hard.solutions
        show_solved(runners, hard, solved.all(axis=1))


def export_without(fields: Mapping[str, Any], model: Any, path: Path) -> None:
    """Writes an int8 file whose scales lack these fields."""
    measured = onnx_int8_calibrate.int8_scales

    def reduced(job: Any) -> Any:
        return dataclasses.replace(measured(job), **fields)

    with mock.patch("trm_export.exporters.onnx.int8_scales", reduced):
        te.export(model, path, precision="int8")


def show_times(paths: Mapping[str, Path], puzzles: PuzzleSet, plain: Path, model: Any) -> None:
    """The time of a step of each file, also as a multiple of that of `quantize_dynamic`."""
    stock = plain.with_name("stock.onnx")
    te.export(model, plain)
    quantize_dynamic(plain, stock)
    seal(stock)  # the driver refuses a file that another tool rewrote
    times = step_times([stock, *paths.values()], puzzles)
    print("\n| file | ms/step | of `quantize_dynamic` |\n" + "|---" * 3 + "|")
    for name, path in {"`quantize_dynamic`": stock, **paths}.items():
        print(f"| {name} | {times[path]:.2f} | {times[path] / times[stock]:.2f} |")


def show_cosines(keras: StepRunner, runners: Mapping[str, StepRunner], tokens: Array) -> None:
    """A row for each step and file, every step from the model's carry."""
    print("| step | file | median 1 - cosine | worst | puzzles below 0.998 |\n" + "|---" * 5 + "|")
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
        print(f"{name}: {solved.mean():.1%}, {lost} lost, {won} won")


if __name__ == "__main__":
    main()
