"""`docs/python-api.md`: its examples run in order, and it has every public name as it is."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import trm_export as te
import trm_runtime
from tests.api.signatures import signature_text
from trm_export.checkpoints.shipped import shipped_checkpoint

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GOLDEN = ROOT / "tests" / "importing" / "golden" / "mixer"
ANSWER, OTHER = "2143341213244231", "2341412314323214"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples leave behind, run one after the other in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "artifacts").mkdir()
    shutil.copy(shipped_checkpoint("sudoku4"), folder / "artifacts")
    for file in GOLDEN.iterdir():
        shutil.copy(file, folder)
    found: dict[str, Any] = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, example in enumerate(BLOCK.findall(PAGE)):
            exec(compile(example, f"python-api.md, example {number}", "exec"), found)
    return found


def test_the_results_pass_and_show_themselves(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(names["folder"])
    results = (
        "result", "report", "imported", "kept", "everything", "found", "comparison", "recorded",
        "tuned", "costs", "score", "solution",
    )  # fmt: skip
    for name in results:
        result = names[name]
        assert result, name
        assert len(repr(result).splitlines()) <= 3, name
        assert result._repr_html_().startswith("<table>"), name
        document = result.to_json()  # of a solution the text itself
        text = document if isinstance(document, str) else json.dumps(document, allow_nan=False)
        assert json.loads(text), name


def test_the_host_part_does_what_it_says(names: dict[str, Any]) -> None:
    assert names["model"].name == "trm"
    assert names["imported"].path.name == "imported.keras"
    assert names["result"].forced_error < 1e-4
    endings = ("", ".json", ".measured.json")
    assert [path.name for path in names["result"].files] == [f"sudoku4.onnx{x}" for x in endings]
    assert "int8" in names["refusal"]
    assert names["kept"].search.stages[0].passed
    assert len(names["everything"].results) >= 10
    assert names["found"].contract.granularity == "step"
    written = {path.name for path in names["folder"].iterdir()}
    assert {"sudoku4_loop", "sudoku4.tflite", "exports", "report.html", "again.html"} <= written


def test_the_device_part_does_what_it_says(names: dict[str, Any]) -> None:
    assert names["solution"].texts == [ANSWER]
    assert f"['{ANSWER}']" in PAGE
    assert names["several"].texts == names["ids"].texts == [ANSWER, OTHER]
    assert "id 0, which is padding" in names["digits"]
    assert (names["folder"] / "answers.json").read_text().count(ANSWER) == 1


@pytest.mark.parametrize("package", [te, trm_runtime])
def test_every_function_stands_there_as_it_is(package: ModuleType) -> None:
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isfunction(value):
            assert f"\n{signature_text(name, value)}\n" in PAGE, name


def test_every_class_stands_there_with_what_it_has() -> None:
    rows = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `")}
    classes = {name for name in te.__all__ if inspect.isclass(getattr(te, name))}
    assert set(rows) == classes
    for name in classes:
        kind = getattr(te, name)
        if not dataclasses.is_dataclass(kind):
            continue
        fields = {field.name for field in dataclasses.fields(kind)}
        own = {key for key, value in vars(kind).items() if isinstance(value, property)}
        told = set(re.findall(r"`(\w+)`", rows[name]))
        shared = {"summary"}
        assert {n for n in fields | own if not n.startswith("_")} - shared <= told, name
        assert told - {name} <= set(dir(kind)) | fields, name
