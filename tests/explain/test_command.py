"""`trm-export parity --explain`: what it prints, and its one JSON document."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from tests.explain.conftest import HARD
from tests.parity.conftest import small_model
from tests.parity.faults import one_weight_off_by_5_percent
from tests.runtime.graphs import write
from trm_export.commands.support.app import run


def test_a_fault_is_explained_and_a_healthy_file_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, good, bad = (str(tmp_path / name) for name in ("m.keras", "good.onnx", "bad.onnx"))
    source = small_model("mlp")
    source.save(model)
    assert run(["onnx", model, "-o", good]) == 0
    proto = onnx.load_model(good)
    one_weight_off_by_5_percent(SimpleNamespace(model=source), proto)
    write(Path(bad), proto)
    capsys.readouterr()
    page = tmp_path / "r.html"
    told = ["--explain", "--report", str(page), "--no-speed"]
    assert run(["parity", model, bad, good, "--count", "6", *told]) == 5
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        f"{bad}: the cause is the file: a new export",
        "First bad step: 1, tensor z_H.",
        f"MatMul of {HARD}, in pass 1: relative L2",
        f"and reads {HARD}.",
        f"- {HARD}: 1 of 8192 values differ",
        "Trials: single steps against the model",
        "graph optimisation off no",
        "fp32 in tflite (litert) yes",
    ):
        assert words.replace(" ", "") in text.replace(" ", "")  # a long path is broken in two
    markdown = page.with_suffix(".md").read_text(encoding="utf-8").replace("\\", "")
    sections = markdown.split("\n### ")[1:]
    assert [HARD in section and "the cause is the file" in section for section in sections] == [
        name.startswith("✗ bad.onnx") for name in sections
    ]
    assert "Trials: single steps against the model" in markdown
    assert f"{good}:toblame" not in text.replace(" ", "")
    output = tmp_path / "one.json"
    words = ["--count", "4", "--explain", "--json", "-o", str(output)]
    assert run(["parity", model, good, *words]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["explanations"] == {}
    assert json.loads(output.read_text()) == shown


def test_a_saved_model_of_other_weights_is_blamed_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, other, file = (str(tmp_path / name) for name in ("m.keras", "o.keras", "m_saved_model"))
    source = small_model("mlp")
    source.save(model)
    kernel = source.inner.lm_head.kernel
    kernel.assign(kernel.value * 1.05)
    source.save(other)
    assert run(["saved-model", other, "-o", file]) == 0
    capsys.readouterr()
    assert run(["parity", model, file, "--count", "6", "--explain"]) == 5
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "the cause is the file: a new export",
        "tensor logits",
        "MatMul of lm_head:",
        "- lm_head: is multiplied by 1.05",
        "fp32 in saved-model",
    ):
        assert words in text
