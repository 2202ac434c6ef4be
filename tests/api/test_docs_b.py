"""The examples of the Python API run on a shipped checkpoint, one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from trm_export.checkpoints.shipped import shipped_checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "python-api-b.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts").mkdir()
    shutil.copy(shipped_checkpoint("sudoku4"), tmp_path / "artifacts")
    names: dict[str, object] = {}
    examples = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(examples) == 8
    for example in examples:
        exec(compile(example, PAGE.name, "exec"), names)
    assert {"report.html", "report.md", "report.json", "again.html"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert Path("again.html").read_bytes() == Path("report.html").read_bytes()
    for name in ("comparison", "recorded", "tuned", "costs", "score"):
        result = names[name]
        assert result, name
        assert len(repr(result).splitlines()) == 1, name
        assert "<table>" in result._repr_html_(), name  # type: ignore[attr-defined]
        assert result.to_json(), name  # type: ignore[attr-defined]
