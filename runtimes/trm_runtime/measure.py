"""The cost of one exported model on this machine, measured in a separate process.

    python -m trm_runtime.measure MODEL INPUTS.npz [PID [TRIES [ENGINE [THREADS]]]]

Memory is that of the process: the engine is loaded first, and what opening and running the model
adds to that is counted. INPUTS.npz has the `inputs` of a model and may have its
`puzzle_identifiers`. Prints one JSON object; if the model cannot be measured, `refused` in it is
the error, and the exit code is that of the error. The process ends with its parent, if that is PID.
TRIES is a JSON object of options of `solve`; an ENGINE of "" is the first that is installed.
Knows numpy and the drivers; memory is read from /proc, which only Linux has.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime.checks import with_identifiers
from trm_runtime.errors import TRMError
from trm_runtime.file_kinds import installed_version, kind_of
from trm_runtime.lean_import import own_process
from trm_runtime.loop import solve
from trm_runtime.memory import return_large_blocks
from trm_runtime.open import open_runner
from trm_runtime.parent import end_with
from trm_runtime.runner import Arrays, StepRunner, initial_carry

Array = np.ndarray[Any, Any]

WARM_UP, MEASURED = 3, 20  # calls
PEAK_SIZE, PEAK_TIMES = 1024, 10
METERS = Path("/sys/class/powercap")  # RAPL, an energy_uj for each package of processor cores


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One model on one engine, one puzzle (or one fixed batch) at a time."""

    engine: str  # name and version
    batch: int  # rows of the calls that were timed
    load_ms: float  # to open the model, the engine being loaded
    step_ms: float  # median of one ACT step; of a loop, its call over the steps it took
    resident_mb: float | None  # added by opening and running, 10^6 bytes
    peak_gflops: float  # 10^9 operations a second of a large float32 product of numpy, beside it
    step_joules: float | None  # of all the processor meanwhile, a step; None without a meter


def measure(
    path: Path,
    tokens: Array,
    threads: int | None = None,
    identifiers: Array | None = None,
    engine: str | None = None,
) -> Measurement:
    """Opens `path` and times steps on the first of the puzzles.

    `tokens` (N, S) int32; `identifiers` (N,) int32 of the puzzles, 0 if not given. Raises what
    `open_runner` raises.
    """
    name = load_engine(path, engine)
    before, started = _resident(), time.perf_counter()
    runner = open_runner(path, threads=threads, engine=engine)
    loaded = time.perf_counter() - started
    batch = runner.contract.batch or 1
    feeds = with_identifiers(runner.contract, tokens, identifiers)
    rows = np.resize(np.arange(len(tokens)), batch)
    energy = joules()
    step = step_seconds(runner, {name: array[rows] for name, array in feeds.items()})
    spent = _difference(energy, joules())
    each = None if spent is None else spent / (WARM_UP + MEASURED)
    after = _resident()
    added = None if before is None or after is None else (after - before) / 1e6
    peak = peak_flops() / 1e9
    return Measurement(name, batch, loaded * 1e3, step * 1e3, added, peak, each)


def load_engine(path: Path, engine: str | None = None) -> str:
    """Loads the engine that runs `path`; returns its distribution, version and, if any, mode."""
    chosen, mode = kind_of(path).chosen(engine)
    package = chosen.load().__name__.partition(".")[0].replace("_", "-")
    name = chosen.used or package
    return " ".join(part for part in (name, installed_version(name), mode) if part)


def step_seconds(runner: StepRunner, inputs: Arrays) -> float:
    """The median time of a step (s), over calls that repeat all steps of the same puzzles."""
    contract, seconds = runner.contract, []
    carry = initial_carry(contract, len(inputs["inputs"]))
    for _ in range(WARM_UP + MEASURED):
        started = time.perf_counter()
        output = runner.step(inputs, carry)
        taken = time.perf_counter() - started
        steps = output.outputs["steps"].max() if contract.granularity == "loop" else 1
        seconds.append(taken / int(steps))
        carry = output.carry
    return float(np.median(seconds[WARM_UP:]))


def peak_flops() -> float:
    """Operations a second of a float32 product of large square matrices in numpy, all threads."""
    square, seconds = np.ones((PEAK_SIZE, PEAK_SIZE), np.float32), []
    for _ in range(PEAK_TIMES):
        started = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - started)
    return 2.0 * PEAK_SIZE**3 / min(seconds)


def joules() -> float | None:
    """The energy counter of the processor; None where no meter can be read."""
    try:
        meters = [path / "energy_uj" for path in METERS.glob("intel-rapl:?")]
        return sum(int(meter.read_text(encoding="ascii")) for meter in meters) / 1e6 or None
    except (OSError, ValueError):
        return None


def _difference(before: float | None, after: float | None) -> float | None:
    """Between two readings of a counter; None where it began again from 0."""
    return None if before is None or after is None or after < before else after - before


def _resident() -> int | None:
    """Bytes of memory of this process; None without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure the model, solve all puzzles, print one JSON object."""
    if len(sys.argv) > 3:
        end_with(int(sys.argv[3]))
    return_large_blocks()
    path, inputs = Path(sys.argv[1]), dict(np.load(sys.argv[2]))
    tokens, identifiers = inputs["inputs"], inputs.get("puzzle_identifiers")
    engine = sys.argv[5] if len(sys.argv) > 5 and sys.argv[5] else None
    threads = int(sys.argv[6]) if len(sys.argv) > 6 else None
    try:
        costs = dataclasses.asdict(measure(path, tokens, threads, identifiers, engine))
        runner = open_runner(path, threads=threads, engine=engine)
        again = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
        solution = solve(runner, with_identifiers(runner.contract, tokens, identifiers), **again)
    except TRMError as error:
        sys.stdout.write(json.dumps({"refused": str(error)}) + "\n")
        sys.exit(error.exit_code)
    answers = {"answers": solution.answers.tolist(), "steps": solution.all_steps.tolist()}
    answers["nonfinite"] = solution.nonfinite
    sys.stdout.write(json.dumps({**costs, **answers}) + "\n")


if __name__ == "__main__":
    own_process()
    main()
