"""Which engine runs a step of a file fastest?

    python benchmarks/compare_engines.py FILE... [--engines onnxruntime,openvino] [--rows 1]

The engines take turns, a step each, in one process with one thread each. Prints one JSON object a
file: the median of the milliseconds of processor time a step, which other work on the machine
disturbs least, and the median ratio to the first engine within a round. A step of a file of
granularity `loop` is its call over the steps that it took.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime import StepRunner, initial_carry, open_runner
from trm_runtime.checks import with_identifiers

WARM_UP = 3


class Turn:
    """One engine with its own carry."""

    def __init__(self, runner: StepRunner, inputs: dict[str, Any], rows: int) -> None:
        self._runner, self._inputs = runner, inputs
        self._carry = initial_carry(runner.contract, rows)

    def seconds(self) -> float:
        """Processor time of the next step."""
        started = time.process_time()
        output = self._runner.step(self._inputs, self._carry)
        taken = time.process_time() - started
        self._carry = output.carry
        loop = self._runner.contract.granularity == "loop"
        return taken / int(output.outputs["steps"].max()) if loop else taken


def measure(file: Path, engines: list[str], rows: int, rounds: int) -> dict[str, Any]:
    runners = [open_runner(file, 1, engine=engine) for engine in engines]
    contract = runners[0].contract
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, contract.vocab_size, (rows, contract.seq_len), dtype=np.int32)
    inputs = with_identifiers(contract, tokens, None)
    turns = [Turn(runner, inputs, rows) for runner in runners]
    taken = np.array([[turn.seconds() for turn in turns] for _ in range(WARM_UP + rounds)])
    taken = taken[WARM_UP:]
    ratios = np.median(taken / taken[:, :1], axis=0)
    return {
        "file": file.name,
        "rows": rows,
        "ms_per_step": dict(zip(engines, (np.median(taken, axis=0) * 1e3).round(3), strict=True)),
        "ratio": dict(zip(engines, ratios.round(2), strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--engines", default="onnxruntime,openvino,openvino:bf16")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    for file in options.files:
        found = measure(file, options.engines.split(","), options.rows, options.rounds)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
