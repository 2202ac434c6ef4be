"""Does ONNX Runtime's I/O binding make a step faster than a plain `run`?

    python benchmarks/measure_io_binding.py MODEL.onnx [--rows 1,64] [--rounds 20]

Three ways to do the same two steps, taking turns in one process, on one session:

- `runner`: `OnnxRunner.step`, as the loop calls it, with all its checks;
- `run`: the bare `InferenceSession.run`;
- `bound`: I/O binding over two sets of carry buffers that swap roles from step to step, without
  checks. It hands out copies of its outputs, as a runner must not reuse what it returned; `bound,
  kept` leaves the copies out and is the most that binding could ever gain.

Prints one JSON object a batch: the median of the milliseconds of processor time a step, which other
work on the machine disturbs least, and the median ratio to `runner` within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from trm_runtime import StepContract, initial_carry
from trm_runtime.drivers.onnxruntime import OnnxRunner

STEPS = 2


class Bound:
    """Steps on pre-allocated buffers: what one step writes, the next reads in place."""

    def __init__(self, session: Any, contract: StepContract, rows: int, *, copies: bool) -> None:
        self._session, self._contract, self._copies = session, contract, copies
        self._outputs = {s.name: np.empty((rows, *s.shape[1:]), s.dtype) for s in contract.outputs}
        self._carries = [initial_carry(contract, rows) for _ in range(2)]
        self._tokens = {s.name: np.zeros((rows, *s.shape[1:]), s.dtype) for s in contract.inputs}
        self._bindings = [self._bind(*pair) for pair in ((0, 1), (1, 0))]

    def _bind(self, read: int, written: int) -> Any:
        binding = self._session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        for name, array in {**self._tokens, **self._carries[read]}.items():
            binding.bind_cpu_input(name, array)
        for name, array in self._outputs.items():
            binding.bind_ortvalue_output(name, value(array))
        for spec in self._contract.carry:
            array = self._carries[written][spec.name]
            binding.bind_ortvalue_output(spec.next, value(array))
        return binding

    def steps(self, inputs: dict[str, Any], carry: dict[str, Any]) -> dict[str, Any]:
        """Two steps from a carry; the last outputs."""
        for name, array in inputs.items():
            self._tokens[name][...] = array
        for name, array in carry.items():
            self._carries[0][name][...] = array
        for step in range(STEPS):
            self._session.run_with_iobinding(self._bindings[step % 2])
            if self._copies:
                outputs = {name: array.copy() for name, array in self._outputs.items()}
                written = self._carries[1 - step % 2]
                _ = {name: array.copy() for name, array in written.items()}
        return outputs if self._copies else self._outputs


def runner_steps(runner: OnnxRunner, inputs: Any, carry: Any) -> Any:
    for _ in range(STEPS):
        output = runner.step(inputs, carry)
        carry = output.carry
    return output.outputs


def run_steps(session: Any, contract: StepContract, inputs: Any, carry: Any) -> Any:
    heads = [spec.name for spec in contract.outputs]
    nexts = {spec.name: spec.next for spec in contract.carry}
    for _ in range(STEPS):
        arrays = session.run([*heads, *nexts.values()], {**inputs, **carry})
        carry = dict(zip(nexts, arrays[len(heads) :], strict=True))
    return dict(zip(heads, arrays, strict=False))


def measure(runner: OnnxRunner, rows: int, rounds: int) -> dict[str, Any]:
    contract, session = runner.contract, runner._session
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, contract.vocab_size, (rows, contract.seq_len), dtype=np.int32)
    inputs, carry = {"inputs": tokens}, initial_carry(contract, rows)
    bound = Bound(session, contract, rows, copies=True)
    kept = Bound(session, contract, rows, copies=False)
    ways: dict[str, Callable[[], Any]] = {
        "runner": lambda: runner_steps(runner, inputs, carry),
        "run": lambda: run_steps(session, contract, inputs, carry),
        "bound": lambda: bound.steps(inputs, carry),
        "bound, kept": lambda: kept.steps(inputs, carry),
    }
    wanted = ways["runner"]()
    for way in ways.values():  # the warm-up is a check
        for name, array in way().items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-5)
    taken = np.array([_round(list(ways.values()), index) for index in range(rounds)])
    ratios = np.median(taken / taken[:, :1], axis=0)
    return {
        "rows": rows,
        "ms_per_step": dict(zip(ways, np.median(taken, axis=0).round(3).tolist(), strict=True)),
        "ratio_to_runner": dict(zip(ways, ratios.round(3).tolist(), strict=True)),
    }


def _round(ways: list[Callable[[], Any]], index: int) -> list[float]:
    """Milliseconds a step of every way; another one goes first in every round."""
    taken = [0.0] * len(ways)
    for turn in range(len(ways)):
        at = (index + turn) % len(ways)
        taken[at] = _milliseconds(ways[at])
    return taken


def _milliseconds(way: Callable[[], Any]) -> float:
    start = time.process_time()
    way()
    return (time.process_time() - start) * 1e3 / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", default="1,64", help="batch sizes, separated by commas")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    runner = OnnxRunner(options.model, threads=options.threads)
    for rows in map(int, options.rows.split(",")):
        print(json.dumps(measure(runner, rows, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
