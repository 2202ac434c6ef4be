"""A second engine for a file on the host: the trained 4x4 checkpoint on OpenVINO."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

import trm_export as te
from tests.parity.faults import change_weight
from trm_export.commands.support.app import run
from trm_export.parity import confidence_rung, tries_rung
from trm_runtime import StepOutput, StepRunner, UsageError, open_runner, solve
from trm_runtime.__main__ import main as device
from trm_runtime.drivers.onnx_file import seal
from trm_runtime.drivers.openvino import OpenVINORunner
from trm_runtime.errors import ParityError
from trm_runtime.parity import GATES, gates_for

if importlib.util.find_spec("openvino") is None:  # importing it sends telemetry
    pytest.skip("openvino is not installed", allow_module_level=True)

VALUES = ("logits", "answers")  # of a step and of a loop
MODEL = Path(te.__file__).parents[1] / "artifacts" / "sudoku4.keras"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export, the same with a column of weights doubled, and a golden of the model."""
    folder = tmp_path_factory.mktemp("openvino")
    te.export(MODEL, folder / "good.onnx")
    broken = onnx.load(folder / "good.onnx")
    largest = max(broken.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    old = onnx.numpy_helper.to_array(largest)
    new = old.copy()
    new[:, 0] *= 2
    change_weight(broken, old, new)
    onnx.save(broken, folder / "bad.onnx")
    seal(folder / "bad.onnx")
    te.record(MODEL, output=folder / "golden.npz", count=40, control=False)
    return folder


def compared(folder: Path, name: str, engine: str) -> te.Comparison:
    try:
        return te.compare(
            MODEL, folder / name, golden=folder / "golden.npz", engine=engine, speed=False
        )
    except UsageError as error:  # a processor without bf16
        pytest.skip(str(error))


def test_the_ladder_passes_in_float32_by_the_gates_of_the_file(folder: Path) -> None:
    found = compared(folder, "good.onnx", "openvino")
    (file,) = found.files
    assert found
    assert file.engine.startswith("openvino 20")
    assert file.result.gates == GATES["fp32"]
    assert file.itself is not None
    assert "openvino has no other way to run it" in file.itself.summary


@pytest.mark.parametrize("precision", ["int8", "int8-static", "int4"])
def test_integer_weights_give_what_they_give_elsewhere(
    precision: str, folder: Path, tmp_path: Path
) -> None:
    te.export(MODEL, tmp_path / "m.onnx", precision=precision)
    assert compared(folder, str(tmp_path / "m.onnx"), "openvino")


@pytest.mark.parametrize(
    ("seq_len", "granularity", "batch"),
    [(24, "step", "free"), (25, "step", "free"), (24, "loop", "free"), (24, "step", 8)],
)
def test_attention_over_more_positions_than_columns(
    seq_len: int, granularity: str, batch: Any, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(3)
    model = te.TRM(
        11, 8, 2, 2.0, seq_len, family="paper", puzzle_emb_len=0, h_cycles=1, l_cycles=2,
        halt_max_steps=3,
    )  # fmt: skip
    te.export(model, tmp_path / "m.onnx", precision="int8", granularity=granularity, batch=batch)
    puzzles = np.random.default_rng(0).integers(1, 11, (8, seq_len)).astype(np.int32)
    here, there = (
        solve(open_runner(tmp_path / "m.onnx", engine=engine), puzzles)
        for engine in ("onnxruntime", "openvino")
    )
    assert (here.answers == there.answers).mean() > 0.8


def test_bf16_has_gates_of_its_own(folder: Path) -> None:
    (file,) = compared(folder, "good.onnx", "openvino:bf16").files
    assert file.result
    assert file.engine.endswith(" bf16")
    assert (file.result.precision, file.result.gates) == ("bf16", gates_for("bf16"))
    assert (file.result.forced_error or 0.0) > (GATES["fp32"].relative_l2 or 0.0)


@pytest.mark.parametrize("engine", ["openvino", "openvino:bf16"])
def test_a_doubled_column_fails(
    folder: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(folder / "bad.onnx"), str(folder / "golden.npz"), "--engine", engine]
    code = device(["check", *words])
    if code == UsageError.exit_code:
        pytest.skip(capsys.readouterr().err)
    assert code == ParityError.exit_code
    assert "forced values  failed" in capsys.readouterr().out


def test_a_fault_of_the_engine_is_not_called_the_cost_of_the_precision(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "int8.onnx"
    te.export(MODEL, path, precision="int8")
    right = OpenVINORunner.step

    def wrong(*given: Any) -> StepOutput:
        found = right(*given)
        negative = {name: -array for name, array in found.outputs.items() if name in VALUES}
        return StepOutput(found.carry, {**found.outputs, **negative})

    monkeypatch.setattr(OpenVINORunner, "step", wrong)
    (file,) = te.compare(MODEL, path, count=20, engine="openvino").files
    assert file.result.broken is not None
    assert (file.result.broken.name, file.itself) == ("engine", file.result.broken)
    assert re.match(
        r"openvino 20\S+ is at fault with this file, because onnxruntime \S+ computes its single "
        r"steps within the gates: step 1, ",
        file.result.broken.summary,
    )
    assert [text.split(":")[0] for text in file.hops] == ["File", "Export", "Engine"]
    words = [str(MODEL), str(path), "--engine", "openvino"]
    assert run(["parity", *words, "--count", "20"]) == ParityError.exit_code
    shown = capsys.readouterr()
    assert "costs" not in shown.out
    assert "Try:" not in shown.err
    loop = tmp_path / "loop.onnx"
    te.export(MODEL, loop, granularity="loop")
    (file,) = te.compare(MODEL, loop, count=20, engine="openvino").files
    assert file.result.verdict.startswith("FAILED at engine: openvino")


def test_a_fault_of_the_file_is_not_called_one_of_the_engine(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = compared(folder, "bad.onnx", "openvino").files
    assert file.itself is not None
    assert file.itself.status == "not judged"
    golden = str(folder / "golden.npz")
    device(["check", str(folder / "bad.onnx"), golden, "--engine", "openvino"])
    said = capsys.readouterr().err
    assert said.startswith("Try: trm-export parity ")
    assert said.endswith("bad.onnx --engine openvino\n")
    device(["check", str(folder / "bad.onnx"), golden, "--engine", "onnxruntime"])
    assert capsys.readouterr().err.endswith("bad.onnx --explain\n")


def test_the_recording_of_a_file_allows_bf16_its_own_gates(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(folder / "good.onnx")
    golden = te.record(path, output=folder / "own.npz", count=6).path
    assert device(["check", path, str(golden), "--engine", "openvino"]) == 0
    assert "so values may differ by" in " ".join(capsys.readouterr().out.split())
    code = device(["check", path, str(golden), "--engine", "openvino:bf16"])
    if code == UsageError.exit_code:
        pytest.skip(capsys.readouterr().err)
    assert code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "bf16 computes in bf16, whose gates apply" in shown


def test_bench_and_evaluate_take_it(folder: Path) -> None:
    path = folder / "good.onnx"
    (row,) = te.bench(MODEL, path, count=10, engine="openvino").rows
    assert row.engine.startswith("openvino 20")
    assert row.answers_equal == 1.0
    assert te.evaluate(path, count=10, engine="openvino").figures["exact"] == row.exact


def test_the_rungs_of_tries_and_confidence_run_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def opening(*given: Any, engine: str | None = None) -> StepRunner:
        opened.append(engine)
        return open_runner(*given, engine=engine)

    for rung in (tries_rung, confidence_rung):
        monkeypatch.setattr(rung, "open_runner", opening)
    golden, engine = folder / "golden.npz", "openvino"
    te.compare(MODEL, folder / "good.onnx", golden=golden, engine=engine, tries=2, abstain=0.5)
    assert opened == [engine, engine]


def test_where_it_cannot_be_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "good.onnx"
    with pytest.raises(UsageError, match="--explain runs the first engine"):
        te.compare(MODEL, path, engine="openvino", explain=True)
    with pytest.raises(UsageError, match="--engine is for given files"):
        te.bench(MODEL, engine="openvino")
    with pytest.raises(UsageError, match="--engine is for an exported file"):
        te.evaluate(MODEL, engine="openvino")
    assert run(["parity", str(MODEL), str(path), "--engine", "openvin"]) == UsageError.exit_code
    assert "choose from onnxruntime" in capsys.readouterr().err
