"""The notebook runs from its own folder, cell after cell, and is committed without outputs."""

from __future__ import annotations

import ast
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.examples.files import CHECKPOINT, EXAMPLES

NOTEBOOK = EXAMPLES / "export_and_judge.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def run(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell as a notebook does: the value of a last line that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def test_it_is_a_notebook_without_outputs() -> None:
    assert {cell["cell_type"] for cell in cells()} == {"markdown", "code"}
    assert len({cell["id"] for cell in cells()}) == len(cells())
    for cell in cells():
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_its_cells_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("examples", "artifacts"):
        (tmp_path / folder).mkdir()
    shutil.copy(CHECKPOINT, tmp_path / "artifacts")
    monkeypatch.chdir(tmp_path / "examples")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    code = ["".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code"]
    values = [run(source, names) for source in code]
    assert all("<table" in value._repr_html_() for value in values[1:4])
    assert values[-1] == (["2143341213244231"], ("halted",))
    assert "halts: True" in capsys.readouterr().out
