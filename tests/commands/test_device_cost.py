"""What inspect says of flash, memory and work, against other ways to know it."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from tests.model.variants import VARIANTS, random_model
from trm_export.artifacts.tflite_cost import _Graphs
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.device_cost import Use, peak
from trm_export.exporters.c_source.arrays import weights_of
from trm_export.exporters.c_source.layout import layout_of
from trm_export.exporters.tflite_flatbuffer import load
from trm_export.files import MICRO, sidecar
from trm_export.report.tables import device_table


def cost(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = te.inspect(path).to_json()["device"]
    return json.loads(json.dumps(found))  # what --json shows


@pytest.mark.parametrize(
    ("kind", "format_", "choices"),
    [
        ("paper mlp mixer", "tflite", {}),
        ("paper mlp mixer", "tflite", {"granularity": "loop"}),
        ("paper mlp mixer", "onnx", {"granularity": "loop", "recursion": "rolled"}),
        ("paper attention rope", "tflite", {"recursion": "unrolled", "batch": 2}),
        ("paper attention rope", "onnx", {"recursion": "rolled"}),
        ("seed mlp mixer", "onnx", {"precision": "fp16"}),
    ],
)
def test_the_work_of_a_graph_is_that_of_the_model(
    kind: str, format_: str, choices: dict[str, Any], tmp_path: Path
) -> None:
    model = random_model(VARIANTS[kind])
    path = te.export(model, tmp_path / f"m.{format_}", format=format_, **choices).path
    found = cost(path)
    expected = layout_of(model, weights_of(model, "fp32")).macs
    assert found["macs_step"] == expected
    assert found["macs_puzzle"] == expected * 5
    assert found["macs_how"] == "counted in the graph"
    assert found["flash"] == path.stat().st_size
    assert found["ram"] == sum(part["bytes"] for part in found["parts"])
    assert [part["name"] for part in found["parts"]][-2:] == ["states", "scratch"]


def test_every_kind_of_file_of_a_shipped_model(tmp_path: Path) -> None:
    model = shipped_checkpoint("sudoku4")
    block = te.export(model, tmp_path / "b.tflite", granularity="block", target="tflite-micro").path
    folder = te.export(model, tmp_path / "sm", format="saved-model").path
    code = te.export_c(model, tmp_path / "c").path
    found = {path.name: cost(path) for path in (block, folder, code)}
    states = 4 * (4 * 17 * 32 + 3 * 16 + 3 + 16 * 6 + 2) + 2  # passes go in and out of a block
    assert found["b.tflite"]["parts"][0] == {"name": "states", "bytes": states + 4, "how": "exact"}
    assert found["c"]["macs_step"] == 6_687_808
    assert found["b.tflite"]["macs_step"] == 6_687_808 + 7 * (16 * 32 * 6 + 32 * 2)  # every call
    assert [part["name"] for part in found["c"]["parts"]] == [
        "states", "outputs", "scratch", "stack",
    ]  # fmt: skip
    assert found["sm"]["ram"] is found["sm"]["macs_step"] is None
    assert "bench" in found["sm"]["macs_how"]
    rows = dict(te.inspect(code).tables()[0].rows)
    assert rows["work"] == (
        "6,687,808 multiply-accumulates a step, 53,502,464 a puzzle of at most 8 steps (exact)"
    )
    assert rows["RAM"].startswith("8,144 bytes:\n- states: 4,424 bytes, exact\n- outputs:")


@pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="not installed: tflite-micro; make test-devices installs it",
)
def test_the_estimate_is_near_the_arena_that_was_measured(tmp_path: Path) -> None:
    path = te.export(
        shipped_checkpoint("sudoku4"), tmp_path / "m.tflite", target="tflite-micro"
    ).path
    measured = cost(path)
    arena = json.loads(sidecar(path, MICRO).read_text())["arena"]
    assert measured["ram"] == arena
    assert measured["parts"][1]["how"].startswith("measured with tflite-micro ")
    sidecar(path, MICRO).unlink()
    estimated = cost(path)
    assert estimated["parts"][1]["how"].startswith("estimated")
    assert 0.9 < estimated["ram"] / arena < 1.1


def test_what_is_live_at_once() -> None:
    uses = [Use(["x"], ["a"]), Use(["a"], ["b"], inner=7), Use(["b", "x"], ["y"])]
    sizes = {"x": 1, "a": 10, "b": 100, "y": 1000}
    assert peak(uses, sizes, ["x", "y"]) == 1001 + 10 + 100 + 7
    assert peak([], sizes, ["x"]) == 1


def test_a_graph_that_contains_itself_has_no_cost(tmp_path: Path) -> None:
    path = te.export(shipped_checkpoint("sudoku4"), tmp_path / "m.tflite").path
    model = load(path.read_bytes())
    loops = [one for g in model.subgraphs for one in g.operators if one.builtinOptionsType and
             hasattr(one.builtinOptions, "bodySubgraphIndex")]  # fmt: skip
    loops[0].builtinOptions.bodySubgraphIndex = 0
    for follow in (_Graphs(model).macs, _Graphs(model).peak):
        with pytest.raises(ValueError, match="contains itself"):
            follow(0)


def test_the_report_has_a_row_for_each_file(tmp_path: Path) -> None:
    model = shipped_checkpoint("sudoku4")
    path = te.export(model, tmp_path / "m.tflite").path
    found = te.compare(model, path, count=8, report=tmp_path / "r.html", speed=False)
    device = json.loads((tmp_path / "r.json").read_text())["files"][0]["device"]
    assert device == cost(path)
    table = device_table(found.document)
    assert table is not None
    (row,) = table.rows
    assert row[:3] == ("m.tflite", f"{device['flash']:,}", f"{device['ram']:,}")
    assert row[3:6] == ("6.7", "6.7", "53.5")
    assert row[6].startswith("states ")
    page, text = ((tmp_path / f"r.{end}").read_text() for end in ("html", "md"))
    assert "Memory and work" in page
    assert f"| {row[1]} | {row[2]} |" in text
    older = json.loads((tmp_path / "r.json").read_text())
    del older["files"][0]["device"]
    assert device_table(older) is None
