"""The tutorial about a Keras model of a class of one's own runs, and its refusal is real."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.examples.files import ROOT
from trm_export.commands.support.app import run

TUTORIAL = (ROOT / "docs" / "tutorials" / "keras-model.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(TUTORIAL) if found == language]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_keras_model_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model, use = blocks("python")
    (tmp_path / "thinker.py").write_text(model, encoding="utf-8")
    exec(compile(use, "keras-model.md", "exec"), {})
    refused, trusted = blocks("bash")
    assert run(shlex.split(refused)[1:]) == 4
    assert capsys.readouterr().err == blocks("text")[0]
    for line in trusted.splitlines()[1:]:
        assert run(shlex.split(line)[1:]) == 0, line
    assert "PASSED" in capsys.readouterr().out
    sys.modules.pop("thinker")
