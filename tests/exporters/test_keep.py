"""Layers kept in float: what lies in the file, what it computes, and who may ask for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.exporters.test_export_onnx import built
from trm_export.artifacts.inspection import inspect_file
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import UsageError
from trm_export.exporters.export import Choices, ExportResult, export, format_named, plan
from trm_export.exporters.kept_layers import chosen, layers
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.exporters.tflite_flatbuffer import load, values
from trm_export.model import TRM

DOWNS = ("H_level/block/ffn/down", "H_level/block/mix/swiglu/down")
DOWN_VALUES = 256 * 17 + 256 * 32
BODY_VALUES = 17 * 512 + 32 * 512 + DOWN_VALUES
SMALL = {"fp16": ("float16", 2), "int8": ("int8", 1), "int8-static": ("int8", 1)}
OTHER_VALUES = 2500  # embeddings, heads, start states, zero points, scales


@pytest.fixture(scope="module")
def sudoku4() -> TRM:
    return load_model(shipped_checkpoint("sudoku4"))


@pytest.fixture(scope="module")
def shared(sudoku4: TRM) -> Shared:
    return Shared(sudoku4)


def exported(shared: Shared, path: Path, choices: Choices) -> ExportResult:
    kind = format_named(path.suffix[1:])
    puzzles = probe_puzzles(shared.model)
    return export(shared.model, path, puzzles, kind, choices, shared=shared)


@pytest.mark.parametrize(
    ("suffix", "precision", "granularity", "recursion"),
    [
        ("onnx", "fp16", "step", "unrolled"),
        ("onnx", "int8", "step", "unrolled"),
        ("onnx", "int8", "step", "rolled"),
        ("onnx", "int8", "loop", "rolled"),
        ("onnx", "int8", "block", None),
        ("onnx", "int8-static", "step", "rolled"),
        ("tflite", "fp16", "step", "rolled"),
        ("tflite", "fp16", "step", "unrolled"),
        ("tflite", "int8", "step", "rolled"),
        ("tflite", "int8", "step", "unrolled"),
        ("tflite", "int8", "loop", "rolled"),
        ("tflite", "int8", "block", None),
        ("tflite", "int8-static", "step", "rolled"),
    ],
)
def test_kept_layers_are_stored_in_float_and_the_file_passes_its_gate(
    shared: Shared,
    suffix: str,
    precision: str,
    granularity: str,
    recursion: str | None,
    tmp_path: Path,
) -> None:
    choices = Choices(precision, granularity=granularity, recursion=recursion, keep=("*down",))
    result = exported(shared, tmp_path / f"m.{suffix}", choices)
    assert not result.verdict.startswith("FAILED")
    assert result.kept == DOWNS
    info = inspect_file(result.path)
    assert info
    assert info.sidecar == "same"
    dtype, itemsize = SMALL[precision]
    small, floats = info.weight_bytes[dtype] / itemsize, info.weight_bytes["float32"] / 4
    assert BODY_VALUES - DOWN_VALUES <= small <= BODY_VALUES - DOWN_VALUES + OTHER_VALUES
    assert DOWN_VALUES <= floats <= DOWN_VALUES + OTHER_VALUES
    (document,) = (file for file in result.documents if file.name == f"m.{suffix}.keep.json")
    assert json.loads(document.read_text())["kept_in_float"] == list(DOWNS)


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_every_layer_in_float_is_as_good_as_fp32(
    shared: Shared, suffix: str, tmp_path: Path
) -> None:
    result = exported(shared, tmp_path / f"m.{suffix}", Choices("int8", keep=("*",)))
    assert result.forced_error is not None
    assert result.forced_error < 1e-5
    assert "int8" not in inspect_file(result.path).weight_bytes


def test_a_layer_has_exactly_its_values_back_gate_and_up_apart(
    sudoku4: TRM, shared: Shared, tmp_path: Path
) -> None:
    result = exported(shared, tmp_path / "m.tflite", Choices("int8", keep=("*ffn/gate_up",)))
    model = load(result.path.read_bytes())
    found = [
        floats
        for graph in model.subgraphs
        for number in range(len(graph.tensors))
        if (floats := values(model, graph, number)) is not None
    ]
    kernel = layers(sudoku4)["H_level/block/ffn/gate_up"]
    for half in np.split(kernel, 2, axis=1):
        assert any(np.array_equal(floats, half.T) for floats in found)


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.parametrize("kind", ["identifiers", "seed"])
def test_attention_and_separate_stacks_keep_layers_too(
    kind: str, suffix: str, tmp_path: Path
) -> None:
    model = built(kind)
    shared = Shared(model)
    plain = exported(shared, tmp_path / f"a.{suffix}", Choices("int8"))
    kept = exported(shared, tmp_path / f"b.{suffix}", Choices("int8", keep=("*/ffn/*", "*qkv")))
    before, after = (inspect_file(r.path).weight_bytes.get("int8", 0) for r in (plain, kept))
    sizes = [m.size for name, m in layers(model).items() if "/ffn/" in name or name.endswith("qkv")]
    assert before - after >= sum(size for size in sizes if size >= 1024)


def test_names_patterns_and_whole_paths(sudoku4: TRM) -> None:
    assert chosen(sudoku4, ()) == ()
    assert chosen(sudoku4, ("lm_head", "H_level/block/ffn/down")) == (DOWNS[0], "lm_head")
    path = "inner/H_level/blocks/transformer_layer/ffn/down/vars/0"
    assert chosen(sudoku4, (path, "*ffn/down")) == DOWNS[:1]


@pytest.mark.parametrize(
    ("kind", "choices", "words"),
    [
        ("onnx", Choices("int8", keep=("down",)), r"matches down; its layers are: H_level/block"),
        ("tflite", Choices(keep=("*",)), "fp32 keeps every layer in float anyway"),
        ("saved-model", Choices("fp16", keep=("*",)), "--keep is not supported for SavedModel"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    sudoku4: TRM, kind: str, choices: Choices, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        plan(sudoku4, probe_puzzles(sudoku4, 2), format_named(kind), choices)


def test_the_command_names_the_file_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(shipped_checkpoint("sudoku4").resolve())
    monkeypatch.chdir(tmp_path)
    options = ["--precision", "int8", "--keep", "*ffn/down", "--keep", "lm_head"]
    assert run(["onnx", model, *options]) == 0
    file = "artifacts/sudoku4-int8-keep.onnx"
    assert capsys.readouterr().out.splitlines() == [
        file, f"{file}.json", f"{file}.calibration.json", f"{file}.keep.json",
        f"{file}.measured.json",
    ]  # fmt: skip
    assert run(["onnx", model, *options[:2], "--keep", "x"]) == 2
    assert "No layer of this model matches x; its layers are" in capsys.readouterr().err.replace(
        "\n", " "
    )
