"""`--ports int32`: no bool enters or leaves a file, and everything else is as with bool."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import UsageError
from trm_export.explain.file_choices import choices_of
from trm_export.exporters.choices import Choices, target_name
from trm_export.exporters.export import export, format_named, plan
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.tasks import get_task
from trm_runtime import ContractError, StepContract, open_runner, solve
from trm_runtime.contract_schema import contract_schema
from trm_runtime.open import open_driver
from trm_runtime.parity import compare


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared(load_model(shipped_checkpoint("sudoku4")))


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("onnx", Choices(ports="int32")),
        ("tflite", Choices(ports="int32")),
        ("saved-model", Choices(ports="int32")),
        ("onnx", Choices(granularity="block", ports="int32")),
        ("tflite", Choices(granularity="block", ports="int32")),
        ("onnx", Choices(granularity="loop", ports="int32")),
        ("tflite", Choices("int8-static", integer_io=True, ports="int32")),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.granularity}-{value.precision}",
)
def test_no_bool_enters_or_leaves_and_the_ladder_passes(
    kind: str, choices: Choices, shared: Shared, tmp_path: Path
) -> None:
    known, model = format_named(kind), shared.model
    path = tmp_path / f"m{known.suffix}"
    result = export(model, path, probe_puzzles(model), known, choices, shared=shared)
    contract = open_driver(path).contract  # which compares it with the engine's own dtypes
    assert contract == result.contract
    specs = (*contract.inputs, *contract.carry, *contract.outputs)
    assert "bool" not in {spec.dtype for spec in specs}
    jsonschema.validate(json.loads(contract.to_json()), contract_schema())
    puzzles = get_task("sudoku4").puzzles("test", count=60)
    assert compare(shared.runner, open_runner(path), puzzles, batch_size=8)
    assert (solve(open_runner(path), puzzles.inputs).answers == puzzles.labels).all()


def test_a_driver_without_wrapper_is_fed_int32(shared: Shared, tmp_path: Path) -> None:
    model, path = shared.model, tmp_path / "m.onnx"
    export(model, path, probe_puzzles(model), format_named("onnx"), Choices(ports="int32"))
    puzzles = get_task("sudoku4").puzzles("test", count=10)
    halt = float(np.median(solve(shared.runner, puzzles.inputs).q_halt))
    solution = solve(open_driver(path), puzzles.inputs, batch_size=3, halt=halt)
    assert solution.steps.tolist() == solve(shared.runner, puzzles.inputs, halt=halt).steps.tolist()
    assert len(set(solution.steps.tolist())) > 1
    assert choices_of(path, model).ports == "int32"


def test_both_are_the_same_model_with_other_names() -> None:
    assert target_name("m", "onnx", Choices(ports="int32")) == "m-int32-ports.onnx"
    assert target_name("m", "onnx", Choices()) == "m.onnx"


def test_an_unknown_dtype_is_refused(shared: Shared) -> None:
    wanted = r"ports must be bool or int32, got 'int8'"
    with pytest.raises(UsageError, match=wanted):
        plan(shared.model, probe_puzzles(shared.model), format_named("onnx"), Choices(ports="int8"))


@pytest.mark.parametrize("fill", [0, True, 1.0])
def test_the_fill_of_an_int32_halted_is_1(shared: Shared, fill: object) -> None:
    model, kind = shared.model, format_named("onnx")
    planned = plan(model, probe_puzzles(model), kind, Choices(ports="int32"))
    document = json.loads(planned.contract.to_json())
    halted = next(spec for spec in document["carry"] if spec["name"] == "halted")
    assert halted["fill"] == 1
    halted["fill"] = fill
    with pytest.raises(ContractError):
        StepContract.from_json(json.dumps(document))
    if type(fill) is not float:  # a schema has no other word for 1.0 than for 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, contract_schema())
