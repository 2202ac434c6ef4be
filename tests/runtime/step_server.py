"""`python step_server.py FAULT`: the toy model as a step server that does something wrong.

Faults happen in the sixth call of the graph or, those named `hello-...`, in the first message, and
those named `end-...` at the end of the input.
"""

# ruff: noqa: E402 - it is started by its path, from any folder

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "runtimes")]

from tests.runtime.fakes import FakeRunner, make_contract
from trm_runtime import StepOutput
from trm_runtime.servers import serving
from trm_runtime.servers.messages import line_of
from trm_runtime.servers.serving import StepServer, own_output

Array = np.ndarray[Any, Any]

LONG = b"\\u001b[2J" * 6000  # an escape of terminals in JSON


class Faulty:
    """The toy model, which does something else in its sixth call."""

    def __init__(self, fault: str, output: BinaryIO) -> None:
        self._fault, self._output, self.calls = fault, output, 0
        changes: dict[str, dict[str, Any]] = {
            "large": {"seq": 20_000},
            "other": {"num_puzzle_identifiers": 3},
        }
        self._runner = FakeRunner(make_contract(**changes.get(fault, {})))
        self.contract = self._runner.contract

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        """One call."""
        self.calls += 1
        if self._fault == "accepts":
            vocab = self.contract.vocab_size
            inputs = {**inputs, "inputs": np.clip(inputs["inputs"], 0, vocab - 1)}
        output = self._runner.step(inputs, carry)
        if self.calls == 6:
            self._do_wrong(len(carry["halted"]))
        if self._fault == "drifts":
            output.carry["z_H"] = output.carry["z_H"] + np.float32(1e-2)
        return output

    def _do_wrong(self, rows: int) -> None:
        fault, output = self._fault, self._output
        if fault == "exit":
            sys.stderr.write("the engine said\n  so\n")
            sys.stderr.flush()
            os._exit(9)
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == "hang":
            time.sleep(60)
        if fault == "print":
            sys.stdout.write("loading ...\n")  # goes to standard error
            sys.stdout.flush()
        if fault == "garbage":
            output.write(b"step 6 took 5 ms\n")
        if fault == "flood":
            output.write(b"x" * 10_000_000)
        if fault == "twice":
            output.write(b'{"reply": "step", "rows": 1, "bytes": 0}\n')
        if fault == "cut":
            output.write(line_of({"reply": "step", "rows": rows}, 221 * rows) + b"short")
            output.flush()
            os._exit(0)
        if fault == "refuse":
            raise MemoryError("not enough")


def main(fault: str, code: int = 4) -> None:
    """Serve; `code` is that of an error in the first message."""
    with own_output() as output:
        hello = {
            "hello-garbage": b"Welcome!\n",
            "hello-error": b'{"error": "m.onnx: damaged.", "exit_code": 4, "bytes": 0}\n',
            "hello-extra": b'{"error": "pip install x.", "exit_code": 3, "bytes": 0}\n',
            "hello-long": b'{"error": "%s", "exit_code": %d, "bytes": 0}\n' % (LONG, code),
            "hello-huge": b'{"protocol": "trm-step-server", "version": 1, "bytes": 9999999999}\n',
            "hello-other": b'{"protocol": "http", "version": 1, "bytes": 0}\n',
            "hello-newer": b'{"protocol": "trm-step-server", "version": 2, "bytes": 0}\n',
            "hello-contract": b'{"protocol": "trm-step-server", "version": 1, "bytes": 2}\n{}',
        }.get(fault)
        if hello is not None:
            output.write(hello)
            output.flush()
            if b"error" in hello:
                sys.exit(code)
            time.sleep(60)
        if fault == "hello-exit":
            sys.exit(3)
        if fault == "bool":
            right = serving.packed
            serving.packed = lambda specs, arrays: [  # type: ignore[assignment]
                b"\x02" * len(part) if spec.name == "halted" else part
                for spec, part in zip(specs, right(specs, arrays), strict=True)
            ]
        if fault == "no-tries":
            line = serving.line_of
            serving.line_of = lambda head, size: line(  # type: ignore[assignment]
                {key: value for key, value in head.items() if key != "tries"}, size
            )
        if fault.startswith("loop"):
            _spoil_loop(fault)
        engine = "\x1b[2J" * 6000 if fault == "long-engine" else "numpy"
        driver = Faulty(fault, output)
        if fault == "leaves":
            _leave_after(driver)
        StepServer(driver, engine, output).serve(sys.stdin.buffer)
        if fault.startswith("end"):
            _end_wrongly(fault, output)


def _leave_after(driver: Faulty) -> None:
    """The program ends directly behind its first reply."""
    right = serving.send

    def send(*message: Any) -> None:
        right(*message)
        if driver.calls:
            os._exit(7)

    serving.send = send


def _end_wrongly(fault: str, output: BinaryIO) -> None:
    if fault == "end-exit":
        os._exit(9)
    if fault == "end-crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "end-garbage":
        output.write(b"done\n")
    if fault == "end-hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    while fault == "end-flood":
        output.write(b"x" * 65536)
    if fault == "end-print":  # an engine prints, and flushes nothing
        sys.stdout.write("bye ...\n")
        ctypes.CDLL(None).printf(b"bye ...\n")


def _spoil_loop(fault: str) -> None:
    """The driver's own loop does not latch, or gives another reason."""
    right = serving.solve

    def wrong(*args: Any, **options: Any) -> Any:
        found = right(*args, **options)
        if fault == "loop-late" and options["halt"] == "learned":
            found.answers[0] = (found.answers[0] + 1) % 6
        if fault == "loop-tries" and options.get("choose") == "first":
            found.tries[0] += 1
        if fault == "loop-reason":
            object.__setattr__(found, "stop_reasons", ("halted",) * len(found))
        return found

    serving.solve = wrong


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
