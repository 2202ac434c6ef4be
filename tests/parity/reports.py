"""Documents of real comparisons of the toy model, for the tests of the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.parity.fakes import Alter, AlteredRunner, Tensors, toy_puzzles
from tests.runtime.fakes import MAX_STEPS, FakeRunner, make_contract
from trm_export.parity.document import JudgedFile, report_document
from trm_runtime import StepContract, StepRunner
from trm_runtime.json_values import plain
from trm_runtime.parity import Gates, Golden, GoldenOrigin, check, compare, record

COMMAND = "trm-export parity toy.keras good.onnx bad.tflite --report r.html"
COST = {"step_ms": 12.5}
CLIPPING = {"dense/0": [0.0, 0.002, *[0.0] * (MAX_STEPS - 2)], "never": [0.0] * MAX_STEPS}


def rounding(before: Tensors, after: Tensors) -> None:
    """Every state a little larger than it should be."""
    after["z_H"] *= 1.0 + 1e-6


def mistaken(before: Tensors, after: Tensors) -> None:
    """Every third puzzle halts a step late, and gets its last cell wrong."""
    rows = after["current_inputs"][:, 0] % 3 == 1
    after["logits"][rows, -1] = after["logits"][rows, -1][:, ::-1]
    after["q_halt_logits"][rows] -= 1.0


def golden(*, labels: bool = True, control: bool = True) -> Golden:
    """The toy model on 12 puzzles, two of which it does not solve."""
    puzzles = toy_puzzles(12, (3, 7))
    if not labels:
        puzzles = replace(puzzles, labels=None)
    device = {"kind": "cpu", "name": "a chip", "backend": "numpy", "versions": {"numpy": "2"}}
    made = {"model": "toy.keras", "device": device, "dtype_policy": "float32"}
    floor = compare(FakeRunner(), AlteredRunner(rounding), puzzles).to_json()
    told = {"what": "the same weights in float64", **floor} if control else None
    return record(FakeRunner(), puzzles, about=GoldenOrigin("puzzles", None, made, told))


def document(folder: Path, **choices: bool) -> dict[str, Any]:
    """One file that only rounds, with a cost, and one that is mistaken."""
    recorded = golden(**choices)
    good = judged(folder / "good.onnx", recorded, rounding)
    bad = judged(folder / "bad.tflite", recorded, mistaken, gates=Gates(answers=1.0))
    files = [replace(good, cost=COST), replace(bad, clipping=CLIPPING)]
    return written(recorded, files)


def judged(
    path: Path,
    recorded: Golden,
    alter: Alter = rounding,
    contract: StepContract | None = None,
    gates: Gates | None = None,
) -> JudgedFile:
    """A file that holds the altered toy model."""
    path.write_bytes(b"0" * 1_234_567)
    runner: StepRunner = AlteredRunner(alter, contract or make_contract())
    result = check(recorded, runner, gates=gates)
    return JudgedFile(path, runner.contract, "onnxruntime 1.0", result)


def written(recorded: Golden, files: list[JudgedFile]) -> dict[str, Any]:
    """The document, as JSON keeps it."""
    found: dict[str, Any] = plain(report_document(recorded, "ab" * 32, files, COMMAND))
    return found
