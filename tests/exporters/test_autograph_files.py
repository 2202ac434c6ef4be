"""TensorFlow's temporary modules are gone when a call returns, so that a kill leaves none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from trm_export.leftovers import clear_autograph

ROOT = Path(__file__).parents[2]
CODE = """
import os, sys
import trm_export as te
{call}
os._exit(0)  # as a kill: nothing registered for the end is run
"""
CALLS = {
    "a SavedModel": "te.export({model!r}, 'm_saved_model')",
    "a training": "te.train('sudoku4', 't.keras', steps=2, steps_per_epoch=2, batch_size=4)",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_process_without_an_end_leaves_no_file(tmp_path: Path, call: str) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    other = scratch / "__autograph_generated_file_of_another.py"
    other.touch()
    model = str(ROOT / "artifacts" / "sudoku4.keras")
    backend = {"KERAS_BACKEND": "tensorflow"}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtimes")])
    subprocess.run(
        [sys.executable, "-c", CODE.format(call=CALLS[call].format(model=model))],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(scratch), **backend},
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    assert [file.name for file in scratch.rglob("*")] == [other.name]


def test_a_cache_of_another_user_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("__autograph_generated_file_x")
    module.__file__ = str(tmp_path / "__autograph_generated_file_x.py")
    Path(module.__file__).touch()
    (tmp_path / "__pycache__").touch()  # a folder that cannot be entered is as refused
    monkeypatch.setitem(sys.modules, module.__name__, module)
    clear_autograph()
    assert [file.name for file in tmp_path.iterdir()] == ["__pycache__"]
