"""What the checks, the copies and the loop add to an engine.

    python benchmarks/measure_loop.py [sudoku4.onnx | sudoku4.tflite]

Prints microseconds of processor time a step, one thread: the engine in `solve`, and what `solve`
adds to it, one puzzle at a time and 64 at a time; the median of `--rounds` turns. The engine is
timed inside the same run, because its own time varies more than what is added.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_runtime import open_runner, solve

CASES = ((1, 40), (64, 2000))  # rows of a call, puzzles


class Timed:
    """An engine, a session of onnxruntime or a signature of LiteRT, whose own calls are timed."""

    def __init__(self, engine: Any) -> None:
        self._run, self.seconds, self.calls = getattr(engine, "run", engine), 0.0, 0

    def run(self, *arguments: Any, **tensors: Any) -> Any:
        """As the engine's."""
        started = time.process_time()
        found = self._run(*arguments, **tensors)
        self.seconds += time.process_time() - started
        self.calls += 1
        return found

    __call__ = run


def turn(runner: Any, rows: int, count: int) -> tuple[float, float]:
    """Microseconds a call: of the engine, and of everything else in `solve`."""
    attribute = "_session" if hasattr(runner, "_session") else "_call"
    engine = getattr(runner, attribute)
    timed = Timed(engine)
    setattr(runner, attribute, timed)
    tokens = np.full((count, runner.contract.seq_len), 2, np.int32)
    started = time.process_time()
    solve(runner, tokens, halt="max_steps", batch_size=rows)
    total = time.process_time() - started
    setattr(runner, attribute, engine)
    return 1e6 * timed.seconds / timed.calls, 1e6 * (total - timed.seconds) / timed.calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = options.file or Path(folder) / "sudoku4.onnx"
        if options.file is None:
            words = ["onnx", str(shipped_checkpoint("sudoku4")), "-o", str(file)]
            subprocess.run([sys.executable, "-m", "trm_export", *words], check=True)
        runner = open_runner(file, threads=1)
        print("| rows | engine, us a call | added | share |\n|---|---|---|---|")
        for rows, count in CASES:
            if runner.contract.batch not in (None, rows):
                continue
            found = np.array([turn(runner, rows, count) for _ in range(options.rounds)])
            engine, added = np.median(found, axis=0)
            print(f"| {rows} | {engine:.0f} | {added:.0f} | {added / engine:.1%} |")


if __name__ == "__main__":
    main()
