"""OpenVINO, the second engine for `.onnx`; bodies of all engines are in the other files."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from tests.runtime import test_onnx as broken
from tests.runtime.driver_rules import (
    lets_threads_take_turns,
    takes_other_integers_strides_and_batches,
)
from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from tests.runtime.graphs import build, write
from trm_runtime import (
    MissingExtraError,
    RejectedInputError,
    StepRunner,
    UsageError,
    initial_carry,
    open_runner,
    solve,
)
from trm_runtime.__main__ import main
from trm_runtime.drivers import openvino as driver
from trm_runtime.drivers.openvino import OpenVINORunner
from trm_runtime.failures import CHANGED_GIVENS
from trm_runtime.file_kinds import KINDS
from trm_runtime.measure import load_engine
from trm_runtime.parity import GATES, gates_of

if importlib.util.find_spec("openvino") is None:  # importing it sends telemetry
    pytest.skip("openvino is not installed", allow_module_level=True)


def opened(path: Path, choice: str = "openvino") -> StepRunner:
    """The runner, or a skip on a processor without bf16."""
    try:
        return open_runner(path, 1, engine=choice)
    except UsageError as error:
        pytest.skip(str(error))


def test_a_step_is_the_fakes_step(toy_onnx: Path) -> None:
    runner, fake = OpenVINORunner(toy_onnx, threads=1), FakeRunner()
    inputs = {"inputs": make_puzzles(3)}
    carry, wanted = initial_carry(runner.contract, 3), initial_carry(fake.contract, 3)
    for _ in range(10):
        out, expected = runner.step(inputs, carry), fake.step(inputs, wanted)
        carry, wanted = out.carry, expected.carry
        for name, array in expected.tensors.items():
            np.testing.assert_array_equal(out.tensors[name], array)
            assert out.tensors[name].dtype == array.dtype


def test_a_tensor_of_several_names_has_that_of_the_contract(tmp_path: Path) -> None:
    model = build(make_contract(batch=2))
    node = next(node for node in model.graph.node if "logits" in node.output)
    node.output[0] = "a name before it"
    (value,) = (value for value in model.graph.output if value.name == "logits")
    sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
    shape = onnx.numpy_helper.from_array(np.array(sizes, np.int64), "the same shape")
    model.graph.initializer.append(shape)
    names = ["a name before it", "the same shape"]
    model.graph.node.append(onnx.helper.make_node("Reshape", names, ["logits"]))
    runner, puzzles = OpenVINORunner(write(tmp_path / "toy.onnx", model)), make_puzzles(4)
    np.testing.assert_array_equal(solve(runner, puzzles).steps, puzzles[:, 0])


def test_it_runs_where_it_is_chosen(toy_onnx: Path) -> None:
    runner = open_runner(toy_onnx, engine="openvino")
    assert isinstance(runner, OpenVINORunner)
    assert runner.contract == make_contract()
    assert not isinstance(open_runner(toy_onnx), OpenVINORunner), "onnxruntime comes first"


def test_it_runs_where_it_is_alone(toy_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = KINDS["onnx"].engines[1:]
    monkeypatch.setitem(KINDS, "onnx", replace(KINDS["onnx"], engines=alone))
    assert isinstance(open_runner(toy_onnx), OpenVINORunner)


def test_bf16_is_a_choice_that_the_contract_and_the_gates_show(toy_onnx: Path) -> None:
    runner = opened(toy_onnx, "openvino:bf16")
    assert runner.contract == replace(make_contract(), precision="bf16")
    assert gates_of(runner.contract) == GATES["bf16"]
    assert load_engine(toy_onnx, "openvino:bf16").endswith(" bf16")
    puzzles = make_puzzles(6)
    np.testing.assert_array_equal(solve(runner, puzzles).steps, puzzles[:, 0])


def test_an_integer_precision_stays(tmp_path: Path) -> None:
    contract = make_contract(precision="int8")
    runner = opened(write(tmp_path / "toy.onnx", build(contract)), "openvino:bf16")
    assert runner.contract == contract


def test_bf16_rounds_and_float32_does_not(tmp_path: Path) -> None:
    path, state = write(tmp_path / "product.onnx", product()), np.linspace(0.1, 1, 64, dtype="f4")
    engine = driver.load_engine()
    exact = state.astype("f8").reshape(8, 8) @ state.astype("f8").reshape(8, 8)
    errors = []
    for mode in (None, "bf16"):
        try:
            compiled = driver._open(engine, path, 1, mode)
        except UsageError as error:
            pytest.skip(str(error))
        (found,) = compiled.create_infer_request().infer({"x": state.reshape(8, 8)}).to_tuple()
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert errors[0] < 1e-6 < 1e-4 < errors[1] < 1e-2


def product() -> onnx.ModelProto:
    """y = x x, of 8 by 8 floats."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("MatMul", ["x", "x"], ["y"])
    ends = [helper.make_tensor_value_info(name, number, [8, 8]) for name in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def test_a_processor_without_bf16_is_named(toy_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.load_engine().Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(UsageError, match=r"this processor has no bf16; choose the engine openvino"):
        open_runner(toy_onnx, engine="openvino:bf16")
    assert open_runner(toy_onnx, engine="openvino")


def test_returned_arrays_are_not_written_again(toy_onnx: Path) -> None:
    runner = OpenVINORunner(toy_onnx)
    inputs, carry = {"inputs": make_puzzles(3)}, initial_carry(runner.contract, 3)
    first = runner.step(inputs, carry)
    kept = {name: array.copy() for name, array in first.tensors.items()}
    runner.step(inputs, first.carry)
    for name, array in first.tensors.items():
        np.testing.assert_array_equal(array, kept[name])


def test_given_arrays_are_shared_but_not_written(toy_onnx: Path) -> None:
    runner = OpenVINORunner(toy_onnx, threads=1)
    inputs, carry = {"inputs": make_puzzles(3)}, initial_carry(runner.contract, 3)
    given = {**inputs, **carry}
    kept = {name: array.copy() for name, array in given.items()}
    for array in given.values():
        array.flags.writeable = False
    out = runner.step(inputs, carry)
    for name, array in given.items():
        np.testing.assert_array_equal(array, kept[name])
        assert not any(np.shares_memory(array, other) for other in out.tensors.values())


def test_other_integers_strides_and_batches_are_accepted(toy_onnx: Path) -> None:
    takes_other_integers_strides_and_batches(OpenVINORunner(toy_onnx, threads=2))


def test_threads_that_share_a_runner_take_turns(toy_onnx: Path) -> None:
    lets_threads_take_turns(OpenVINORunner(toy_onnx, threads=1))


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (broken.metadata_missing, "has no step contract"),
        (broken.external, "has data in other files, which is refused"),
        (broken.input_renamed, "input 'z_L': the engine has no such tensor"),
        (broken.wrong_dtype, "'logits': expected dtype float32, got f64"),
        (broken.wrong_shape, "input 'z_L': expected shape (batch, 4, 3), got (batch,"),
        (broken.fixed_batch, "'inputs': expected shape (batch, 4), got (2, 4)"),
        (broken.output_dropped, "'current_inputs_next': the engine has no such tensor"),
        (
            broken.unknown_operator,
            "openvino cannot open it: No conversion rule found for operations: Telepathy-17;",
        ),
    ],
)
def test_a_broken_model_is_refused(
    tmp_path: Path, spoil: Callable[[Any], None], complaint: str
) -> None:
    model = build()
    spoil(model)
    path = write(tmp_path / "toy.onnx", model)
    with pytest.raises(RejectedInputError) as caught:
        open_runner(path, engine="openvino")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_failing_step_is_one_sentence(toy_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = OpenVINORunner(toy_onnx)
    complaint = "Exception from src/a.cpp:1:\nCheck 'x' failed at src/b.cpp:2:\nThe reason.\n\n"

    class Failing:
        def infer(self, feeds: Any, **options: Any) -> None:
            raise RuntimeError(complaint)

    monkeypatch.setattr(runner, "_request", Failing())
    with pytest.raises(RejectedInputError, match="openvino could not run a step: The reason; try"):
        solve(runner, make_puzzles(3))


def test_bad_choices(toy_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = "choose from onnxruntime, openvino, openvino:bf16"
    for choice in ("openvin", "openvino:fp8", "onnxruntime:bf16", "tflite-runtime", ""):
        with pytest.raises(UsageError, match=f"'{choice}' is no engine for an .onnx .*{wanted}"):
            open_runner(toy_onnx, engine=choice)
    with pytest.raises(UsageError, match="openvino cannot run an"):
        open_runner(toy_onnx, optimised=False, engine="openvino")
    with pytest.raises(UsageError, match="threads: expected 1 or more, got 0"):
        open_runner(toy_onnx, threads=0, engine="openvino")
    assert main([str(toy_onnx), "-", "--engine", "openvin"]) == UsageError.exit_code
    assert wanted in capsys.readouterr().err


def test_a_missing_engine_names_the_install_line(
    toy_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.import_module", broken.absent)
    with pytest.raises(MissingExtraError) as caught:
        OpenVINORunner(toy_onnx)
    line = 'openvino is not installed; install it with `pip install "trm-runtime[openvino]"`.'
    assert str(caught.value) == line


# --- commands ------------------------------------------------------------------------------------


def test_the_command_solves_on_it(toy_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    puzzles = make_puzzles(4)
    file = toy_onnx.with_name("p.npz")
    np.savez(file, inputs=puzzles)
    assert main([str(toy_onnx), str(file), "--engine", "openvino", "--json"]) == CHANGED_GIVENS
    found = json.loads(capsys.readouterr().out)["puzzles"]
    assert [puzzle["steps"] for puzzle in found] == puzzles[:, 0].tolist()


def test_it_writes_nothing_and_calls_nobody(toy_onnx: Path, tmp_path: Path) -> None:
    """`import openvino` alone looks up www.google-analytics.com and writes into the home folder."""
    code = """
import sys
calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event.startswith("socket.") else None)
from trm_runtime import open_runner
open_runner(sys.argv[1], engine="openvino")
print(calls, sorted(name for name in sys.modules if "telemetry" in name))
"""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(toy_onnx)], capture_output=True, text=True, check=True,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    calls, modules = done.stdout.strip().split("] ")
    assert calls == "["
    assert "openvino_telemetry" not in modules
    assert list(home.iterdir()) == []


def test_releases_of_2024_take_the_options(toy_onnx: Path) -> None:
    """Their Python has signed integers, which they refuse where an unsigned one is wanted."""
    given: dict[str, Any] = {}

    class Core:
        def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> None:
            given.update(options)

    engine = SimpleNamespace(Core=Core, frontend=driver.load_engine().frontend)
    driver._open(engine, toy_onnx, 1, None)
    assert given["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == "0"
