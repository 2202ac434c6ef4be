"""`load`, `export`, `export_all`, `inspect` and `TRM.export` as functions, on a shipped model."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import app, run
from trm_export.errors import OverwriteError, ParityError, UsageError
from trm_export.exporters.shared import Shared
from trm_export.step.step_model import adapt
from trm_export.tasks import get_task
from trm_runtime.contract import StepContract
from trm_runtime.json_values import plain
from trm_runtime.parity.few_steps import SOME

SOURCE = shipped_checkpoint("sudoku4")


@pytest.fixture(scope="module")
def model() -> Any:
    return te.load(SOURCE)


@pytest.fixture
def no_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with `m.keras`, in which a refusal must come before Keras is asked for."""
    shutil.copy(SOURCE, tmp_path / "m.keras")
    monkeypatch.chdir(tmp_path)

    def load_keras(**options: bool) -> None:
        pytest.fail("a framework is loaded before the refusal")

    monkeypatch.setattr("trm_export.api.frameworks.load_keras", load_keras)
    return tmp_path


@pytest.mark.parametrize("kind", ["path", "text", "keras", "adapted"])
def test_a_model_is_a_file_or_in_memory(kind: str, model: Any, tmp_path: Path) -> None:
    given = {"path": SOURCE, "text": str(SOURCE), "keras": model, "adapted": adapt(model)}[kind]
    result = te.export(given, tmp_path / "m.onnx")
    assert result.format == "onnx"
    endings = ("", ".json", ".measured.json")
    assert result.files == tuple(tmp_path / f"m.onnx{ending}" for ending in endings)
    assert te.inspect(result.path).contract == result.contract
    document = result.to_json()["contract"]  # as it is in the file
    assert StepContract.from_json(json.dumps(document)) == result.contract
    assert result.contract.made_by.weights_sha256 == te.inspect(SOURCE).info.weights_sha256


def test_the_function_does_what_the_command_does(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SOURCE, tmp_path / "trm.keras")
    assert run(["tflite", "trm.keras", "--precision", "int8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    result = te.export(model, format="tflite", precision="int8")  # the model's own name is `trm`
    mine = json.loads(json.dumps(plain(result.to_json())))
    times = ("seconds", "check_seconds")
    assert {k: v for k, v in mine.items() if k not in times} == {
        k: v for k, v in told.items() if k not in times
    }
    assert mine["path"] == "artifacts/trm-int8.tflite"


@pytest.mark.parametrize("command", ["onnx", "tflite"])
def test_command_and_function_have_the_same_defaults(command: str) -> None:
    parser: Any = typer.main.get_command(app)
    options = {option.name: option.default for option in parser.commands[command].params}
    mine = inspect.signature(te.export).parameters
    for name in ("precision", "granularity", "batch", "recursion", "puzzle_table", "integer_io",
                 "ports", "auto_keep", "auto_keep_count", "force"):  # fmt: skip
        assert (options[name] or None) == (mine[name].default or None), name


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("m.tfl", {}, "m.tfl: no format has the suffix '.tfl'; give the format: saved-model"),
        (None, {}, "Give the path of the file, or its format"),
        ("m.onnx", {"format": "openvino"}, "There is no format 'openvino'"),
        ("m.onnx", {"format": "tflite"}, "must end in .tflite"),
        ("m.onnx", {"precision": "fp8"}, "precision must be fp32 or fp16"),
        ("m.onnx", {"batch": 0}, "batch must be 1 to"),
        ("m.onnx", {"granularity": "cell"}, "granularity must be"),
        (
            "m.tflite",
            {"target": "phone"},
            "target must be litert or tflite-runtime or tflite-micro",
        ),
        ("m.tflite", {"c_array": True}, "A C array is only for --target tflite-micro"),
        ("m.onnx", {"keep": ["lm_head"]}, "fp32 keeps every layer"),
        ("m.onnx", {"auto_keep": 20}, "fp32 keeps every layer"),
        ("m.onnx", {"auto_keep": -1, "precision": "int8"}, "for auto_keep must be 0 to 1000"),
        ("m.onnx", {"auto_keep_count": 0}, "auto_keep_count must be a whole number, 1 or more"),
        ("m.onnx", {"trust": "nosuch"}, "there is no module 'nosuch'"),
        ("m.keras", {"format": "onnx"}, "is the model itself"),
    ],
)
def test_refusals_come_before_a_framework(
    path: str | None, options: dict[str, Any], said: str, no_keras: Path
) -> None:
    with pytest.raises(UsageError) as error:
        te.export("m.keras", path, **options)
    assert said in str(error.value)
    assert [file.name for file in no_keras.iterdir()] == ["m.keras"]


@pytest.mark.parametrize(("check", "steps"), [("auto", SOME), ("full", None)])
def test_a_search_compares_the_steps_that_check_names(
    check: str, steps: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int | None] = []

    def search(*given: Any, shared: Shared, **options: Any) -> None:
        compared.append(shared.steps)
        raise ParityError("Nothing was written.")

    monkeypatch.setattr("trm_export.explain.auto_keep.auto_keep", search)
    options: dict[str, Any] = {"precision": "int8", "auto_keep": 20, "check": check}
    with pytest.raises(ParityError, match="Nothing was written"):
        te.export(shipped_checkpoint("maze9"), tmp_path / "m.onnx", **options)
    assert compared == [steps]


def test_what_is_in_the_way_or_missing_is_refused_too(no_keras: Path) -> None:
    (no_keras / "other.onnx").write_text("mine")
    with pytest.raises(OverwriteError):
        te.export("m.keras", "other.onnx")
    with pytest.raises(te.errors.RejectedInputError, match="no such file or folder of puzzles"):
        te.export("m.keras", "m.onnx", puzzles="none.csv")
    for verb in (te.load, te.inspect, lambda path: te.export_all(path)):
        with pytest.raises(te.errors.RejectedInputError, match=r"none\.keras: cannot be read"):
            verb("none.keras")


def test_puzzles_of_ones_own_are_what_is_checked(model: Any, tmp_path: Path) -> None:
    given = get_task("sudoku4").puzzles("validation", count=9)
    result = te.export(model, tmp_path / "m.onnx", puzzles=given.inputs)
    assert "9 puzzles" in result.verdict


def test_progress_is_told_of_the_whole_set(model: Any, tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    found = te.export_all(
        model, tmp_path, granularity="loop", progress=lambda done, note: told.append((done, note))
    )
    assert found
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (1.0, "tflite int4")
    assert len(found) == len({done for done, _ in told if done})
    assert any(what == "Checking onnx, int8, against Keras" for _, what in told)
    assert {entry.path for entry in found if entry.result} == {one.path for one in found.results}
    assert len(found.reasons) >= 1
    assert all(reason.endswith(".") for reason in found.reasons)
    assert not found.lost
    over = [dataclasses.replace(one, tuning_lost=True) for one in found.results[:2]]
    entries = [dataclasses.replace(found.entries[0], result=one) for one in over]
    lost = te.ExportSet((*found.entries, *entries))
    names = ", ".join(one.path.name for one in over)
    assert lost.lost == f"Tuned before, and now not; tune again: {names}."
    assert lost.summary.endswith(lost.lost)


def test_a_file_that_computes_something_else_is_not_written(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trm_export.exporters import onnx

    right = onnx.converted

    def wrong(*given: Any, **options: Any) -> Any:
        proto = right(*given, **options)
        largest = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        numbers = np.frombuffer(largest.raw_data, np.float32)
        largest.raw_data = (numbers * 1.1).astype(np.float32).tobytes()
        return proto

    monkeypatch.setattr(onnx, "converted", wrong)
    with pytest.raises(ParityError, match="was not written"):
        te.export(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "name"),
    [("tf_saved_model", "folder"), ("onnx", "m.onnx"), ("litert", "m.tflite"), (None, "n.tflite")],
)
def test_keras_own_names_of_formats(
    format: str | None, name: str, model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = model.export(tmp_path / name, format, True)
    assert te.inspect(tmp_path / name).contract == result.contract
    assert result.verdict in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "torch"}, "There is no format 'torch'; choose from"),
        ({"input_signature": [1]}, "The step contract determines the inputs of the graph"),
        ({"opset_version": 18}, "An export has no option opset_version; choose from precision"),
    ],
)
def test_what_keras_takes_and_we_do_not_is_a_sentence(
    options: dict[str, Any], said: str, model: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        model.export(tmp_path / "m.onnx", **options)
    keras_own = inspect.signature(te.TRM.__mro__[1].export).parameters
    assert list(keras_own)[:5] == list(inspect.signature(te.TRM.export).parameters)[:5]


def test_two_threads_export_and_compare_one_model(tmp_path: Path) -> None:
    model = te.load(shipped_checkpoint("sudoku4"))
    names = ["a.onnx", "b.onnx", "c.tflite"]

    def work(name: str) -> bool:
        return te.compare(model, te.export(model, tmp_path / name).path, count=4).passed

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, names)) == [True] * 3
    alone = te.export(model, tmp_path / "alone.onnx").path.read_bytes()
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes() == alone
