"""`trm-export profile` on files of the shipped 4x4 checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run

MODEL = str(shipped_checkpoint("sudoku4"))
LAYERS = {f"H_level/block/{name}" for name in ("mix/swiglu/gate_up", "mix/swiglu/down",
                                               "ffn/gate_up", "ffn/down")}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("profiled")
    model = te.load(MODEL)
    te.export(model, made / "fp32.onnx")
    te.export(model, made / "int8.onnx", precision="int8")
    te.export(model, made / "rolled.onnx", precision="int8", recursion="rolled")
    te.export(model, made / "block.onnx", granularity="block")
    te.export(model, made / "plain.tflite")
    return made


def document(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["profile", *map(str, words), "--count", "2", "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def nodes(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["name"]: row["nodes"] for row in rows}


@pytest.mark.parametrize("name", ["fp32", "int8", "rolled", "block"])
def test_shares_add_up_and_layers_are_those_of_the_model(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, folder / f"{name}.onnx")
    assert (found["kind"], found["puzzles"], found["threads"]) == ("profile", 2, 1)
    assert found["engine"].startswith("onnxruntime ")
    assert found["call_ms"] > 0
    costs = found["costs"]
    for table in ("kinds", "operators", "layers"):
        assert sum(row["share"] for row in costs[table]) == pytest.approx(1)
        assert [row["ms"] for row in costs[table]] == sorted(
            (row["ms"] for row in costs[table]), reverse=True
        )
    assert len(costs["costliest"]) == 3
    layers = set(nodes(costs["layers"])) - {"after all products"}
    assert layers == {*LAYERS, "lm_head", "q_head"}


def test_every_pass_of_a_loop_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unrolled, rolled = (
        document(capsys, folder / f"{name}.onnx")["costs"] for name in ("int8", "rolled")
    )
    passes = te.load(MODEL).config.passes
    products = nodes(unrolled["operators"])["MatMulIntegerToFloat"]
    assert products == nodes(rolled["operators"])["MatMulIntegerToFloat"] == 6 * passes
    assert nodes(unrolled["kinds"])["matrix products"] == 6 * passes + 2
    assert nodes(unrolled["kinds"])["conversions"] >= 4 * passes


def test_the_table_has_the_costliest_first_and_fits_in_80_columns(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["profile", str(folder / "int8.onnx"), "--count", "2"]) == 0
    captured = capsys.readouterr()
    lines, said = captured.out.splitlines(), " ".join(captured.err.split())
    assert " ms without the profiler. The profiler adds to every node, " in said
    assert "so only the shares of the tables compare." in said
    assert max(map(len, [*lines, *captured.err.splitlines()])) <= 80
    first = next(line for line in lines if line.strip())
    assert first.startswith("int8.onnx: ")
    assert "ms a call" in first
    assert {"Kinds of operators", "Operators"} <= {line.strip() for line in lines}


def test_an_engine_without_a_profiler_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", str(folder / "plain.tflite")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "its engine has no profiler in Python; profile the .onnx file of the model" in said
