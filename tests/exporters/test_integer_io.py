"""`--integer-io`: int8 at the border of a static int8 file, of a step and of a block."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import UsageError
from trm_export.exporters.export import Choices, export, format_named, plan
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.tasks import get_task
from trm_runtime import solve
from trm_runtime.drivers.litert import LiteRTRunner
from trm_runtime.drivers.onnxruntime import OnnxRunner
from trm_runtime.open import open_runner
from trm_runtime.parity import compare

DRIVERS = {"onnx": OnnxRunner, "tflite": LiteRTRunner}


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared(load_model(shipped_checkpoint("sudoku4")))


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
@pytest.mark.parametrize("granularity", ["step", "block"])
def test_the_border_is_int8_and_the_answers_are_right(
    shared: Shared, kind: str, granularity: str, tmp_path: Path
) -> None:
    known, model = format_named(kind), shared.model
    path = tmp_path / f"m{known.suffix}"
    choices = Choices("int8-static", granularity=granularity, integer_io=True)
    result = export(model, path, probe_puzzles(model), known, choices, shared=shared)
    dtypes = {spec.name: spec.dtype for spec in (*result.contract.carry, *result.contract.outputs)}
    assert [name for name, dtype in dtypes.items() if dtype == "int8"] == [
        "z_H", "z_L", "logits", "q_halt_logits", "q_continue_logits"
    ]  # fmt: skip
    assert "float32" not in dtypes.values()
    driver = DRIVERS[kind](path)  # which compares the contract with the engine's own dtypes
    assert driver.contract == result.contract
    puzzles = get_task("sudoku4").puzzles("test", count=50)
    runner = open_runner(path)
    assert (solve(runner, puzzles.inputs).answers == puzzles.labels).all()
    assert compare(shared.runner, runner, puzzles)


def test_the_carry_of_a_step_enters_the_next_as_it_is(shared: Shared, tmp_path: Path) -> None:
    """What a device without floating point does, in integers alone."""
    model, path = shared.model, tmp_path / "m.tflite"
    choices = Choices("int8-static", integer_io=True)
    export(model, path, probe_puzzles(model), format_named("tflite"), choices, shared=shared)
    driver, puzzle = LiteRTRunner(path), get_task("sudoku4").puzzles("test", count=1)
    ports = {spec.name: spec for spec in driver.contract.outputs}
    carry = {
        spec.name: np.full((1, *spec.shape[1:]), spec.fill, spec.dtype)
        for spec in driver.contract.carry
    }
    score = ports["q_halt_logits"]
    assert score.scale is not None
    for _ in range(driver.contract.max_steps):
        output = driver.step({"inputs": puzzle.inputs}, carry)
        carry = output.carry
        halt = int(output.outputs["q_halt_logits"][0]) - (score.zero_point or 0)
        if halt * score.scale > driver.contract.halt.threshold:
            break
    assert (output.outputs["logits"].argmax(-1) == puzzle.labels).all()


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (Choices("int8", integer_io=True), "int8 has none; use int8-static"),
        (Choices("int8-static", granularity="loop", integer_io=True), "not supported for gran"),
    ],
)
def test_what_has_no_ranges_is_refused(shared: Shared, choices: Choices, reason: str) -> None:
    model = shared.model
    with pytest.raises(UsageError, match=reason):
        plan(model, probe_puzzles(model), format_named("tflite"), choices, shared)


def test_the_command_says_so_in_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(shipped_checkpoint("sudoku4"))
    monkeypatch.chdir(tmp_path)
    assert run(["onnx", model, "--precision", "int8-static", "--integer-io", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == "artifacts/sudoku4-int8-static-integer-io.onnx"
    logits = next(t for t in found["contract"]["outputs"] if t["name"] == "logits")
    assert logits["dtype"] == "int8"
    assert logits["scale"] > 0
