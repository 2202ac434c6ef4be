"""What a big comparison costs: memory, seconds and bytes at 10,000 and at 100,000 puzzles.

    python benchmarks/measure_parity_scale.py MODEL.onnx [--counts 10000,100000] [--jobs 1,2]

The puzzles are shipped 4x4 ones, the easiest, relabelled by digit permutations and repeated as
often as needed: what is measured does not depend on how different they are. The reference is an
oracle that knows the solutions and halts at once, with states of zeros: it costs little, and a file
that fails is measured as long as one that passes.

Every job runs in a process of its own. Prints one JSON object a job: puzzles, what was done, its
seconds, and those of processor time, children's too, which other work on the machine disturbs less;
the peak of resident memory of the process, and of its largest child, in 10^6 bytes; the bytes of
what it wrote, a golden or a JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.parity.checking import Check, check_files, here
from trm_export.parity.parts import Parts
from trm_export.parity.processes import over_processes
from trm_export.tasks import PuzzleSet, get_task
from trm_runtime import StepContract, StepOutput
from trm_runtime.json_values import plain
from trm_runtime.open import open_runner
from trm_runtime.parity import GoldenOrigin
from trm_runtime.parity.golden_file import GoldenWriter, read_golden
from trm_runtime.parity.recorder import (
    model_tokens,
    plan,
    record_chunks,
    record_refilled,
    targets,
)

Array = np.ndarray[Any, Any]

STATES = 30_000_000  # bytes, as `trm-export reference` keeps them


def some_puzzles(count: int) -> PuzzleSet:
    """So many 4x4 puzzles."""
    task = get_task("sudoku4")
    known = task.puzzles("test", task.levels[0], 200)
    rng = np.random.default_rng(0)
    inputs, labels = [], []
    for start in range(0, count, len(known.inputs)):
        first = int(known.inputs.max()) - 3  # the token of the digit 1
        digits = np.arange(first + 4)
        digits[first:] = rng.permutation(digits[first:])
        rows = min(len(known.inputs), count - start)
        inputs.append(digits[known.inputs[:rows]])
        labels.append(digits[known.solutions[:rows]])
    found = (np.concatenate(part).astype(np.int32) for part in (inputs, labels))
    return PuzzleSet(*found, np.zeros(count, np.int32))


class Oracle:
    """A runner that answers with the solution after its first step; its states are zeros."""

    def __init__(self, contract: StepContract, puzzles: PuzzleSet) -> None:
        self.contract = contract
        rows = zip(puzzles.inputs, puzzles.solutions, strict=True)
        self._known = {row.tobytes(): solution for row, solution in rows}

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        """One ACT step; see `StepRunner.step`."""
        halted = carry["halted"]
        tokens = np.where(halted[:, None], inputs["inputs"], carry["current_inputs"])
        steps = np.where(halted, 0, carry["steps"]).astype(np.int32) + 1
        answers = np.stack([self._known.get(row.tobytes(), row) for row in tokens])
        after = {name: np.zeros_like(array) for name, array in carry.items()}
        after |= {"steps": steps, "current_inputs": tokens}
        after["halted"] = steps >= self.contract.max_steps
        logits = np.eye(self.contract.vocab_size, dtype=np.float32)[answers]
        scores = np.ones((2, len(steps)), np.float32) * [[5], [-5]]
        halt, go_on = scores.astype(np.float32)
        outputs = {"logits": logits, "q_halt_logits": halt, "q_continue_logits": go_on}
        return StepOutput(carry=after, outputs=outputs)


def recorded(model: Path, count: int, golden: Path) -> int:
    puzzles = some_puzzles(count)
    runner = Oracle(open_runner(model, 1).contract, puzzles)
    tokens = model_tokens(runner.contract, puzzles)
    chosen = plan(runner.contract, count, STATES)
    with golden.open("wb") as file:
        writer = GoldenWriter(file)
        for chunk in record_chunks(runner, tokens, targets(puzzles), chosen, 64, lambda done: None):
            writer.chunk(chunk)
        refilled = record_refilled(runner, tokens, np.arange(chosen.refilled), lambda done: None)
        writer.finish(runner.contract, GoldenOrigin(), refilled)
    return golden.stat().st_size


def checked(model: Path, golden: Path, jobs: int) -> int:
    spread = here if jobs == 1 else partial(over_processes, jobs=jobs)
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder, "parts"), {})
        checks = [Check(golden, model)]
        (result,) = check_files(read_golden(golden), checks, parts, spread=spread)
    return len(json.dumps(plain(result.to_json())))


def peak(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss * 1024 / 1e6


def job(model: Path, count: int, golden: Path, jobs: int) -> dict[str, Any]:
    """`jobs` 0 records; in this process."""
    started = time.perf_counter()
    size = checked(model, golden, jobs) if jobs else recorded(model, count, golden)
    seconds = time.perf_counter() - started
    spent = os.times()
    busy = spent.user + spent.system + spent.children_user + spent.children_system
    return {
        "puzzles": count,
        "what": f"check, {jobs} jobs" if jobs else "record",
        "seconds": round(seconds, 1),
        "busy_seconds": round(busy, 1),
        "puzzles_a_busy_second": round(count / busy),
        "peak_mb": round(peak(resource.RUSAGE_SELF)),
        "peak_child_mb": round(peak(resource.RUSAGE_CHILDREN)) if jobs > 1 else None,
        "written_bytes": size,
    }


def main() -> None:
    """Starts a process a job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--counts", default="10000,100000")
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        count, golden, jobs = options.one
        print(json.dumps(job(options.model, int(count), Path(golden), int(jobs))), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        for count in options.counts.split(","):
            for jobs in ("0", *options.jobs.split(",")):
                one = ["--one", count, str(Path(folder, f"{count}.npz")), jobs]
                subprocess.run([sys.executable, __file__, str(options.model), *one], check=True)


if __name__ == "__main__":
    main()
