"""Files for tflite-micro, in its own interpreter: the whole ladder, over a step server.

TRM_LONG=1 also judges the 9x9 models, which takes some minutes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import OverwriteError, TRMError
from trm_export.files import MICRO, sidecar
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import get_task
from trm_runtime.parity import check, record
from trm_runtime.servers.runner import ServerRunner

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None,
    reason="not installed: tflite-micro; make test-devices installs it",
)
long = pytest.mark.skipif(
    not os.environ.get("TRM_LONG"), reason="takes minutes; set TRM_LONG=1 to run it"
)
SERVER = Path(__file__).parent / "tflm_server.py"
PUZZLES = {"sudoku4": 10, "maze9": 2, "sudoku9": 2}
MOST = {"sudoku4": 170_000, "maze9": 1_000_000, "sudoku9": 1_600_000}  # bytes of arena


def exported(name: str, path: Path, **choices: Any) -> dict[str, Any]:
    """The document of a new file for tflite-micro."""
    te.export(shipped_checkpoint(name), path, target="tflite-micro", **choices)
    facts: dict[str, Any] = json.loads(sidecar(path, MICRO).read_text())
    return facts


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("sudoku4", {}),
        ("sudoku4", {"granularity": "block"}),
        ("sudoku4", {"precision": "int8-static"}),
        ("sudoku4", {"precision": "int8-static", "granularity": "block", "integer_io": True}),
        ("sudoku4", {"ports": "int32", "recursion": "unrolled", "batch": 2}),
        ("maze9", {"granularity": "block"}),
        pytest.param("sudoku9", {"granularity": "block"}, marks=long),
        pytest.param(
            "sudoku9",
            {"precision": "int8-static", "granularity": "block", "integer_io": True},
            marks=long,
        ),
    ],
)
def test_the_ladder_passes(name: str, choices: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    facts = exported(name, path, **choices)
    assert 20_000 < facts["arena"] < MOST[name] * choices.get("batch", 1)
    puzzles = get_task(name).puzzles("test", count=PUZZLES[name])
    golden = record(KerasRunner(te.load(shipped_checkpoint(name))), puzzles)
    words = [sys.executable, str(SERVER), str(path), str(facts["arena"])]
    with ServerRunner(shlex.join(words)) as server:
        result = check(golden, server.whole)
    assert result, result.verdict


def test_the_c_array_is_the_file_and_the_header_adds_its_operators(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("not installed: cc, a C compiler")
    path = tmp_path / "m.tflite"
    facts = exported("sudoku4", path, granularity="block", c_array=True)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "m.tflite.h"\n'
        "int main(void) { fwrite(trm_model, 1, sizeof trm_model, stdout); return 0; }\n"
    )
    sources = [tmp_path / "main.c", tmp_path / "m.tflite.c"]
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *warnings, *sources, "-o", tmp_path / "main"], check=True)
    done = subprocess.run([tmp_path / "main"], check=True, capture_output=True)
    assert done.stdout == path.read_bytes()
    header = (tmp_path / "m.tflite.h").read_text()
    assert f"#define TRM_ARENA_BYTES {facts['arena']} " in header
    assert f"#define TRM_OPERATORS {len(facts['operators'])}\n" in header
    assert all(f"(resolver).{call}();" in header for call in facts["resolver"])
    exported("sudoku4", path, granularity="block", c_array=True)  # replaces its own files
    (tmp_path / "m.tflite.h").write_text("int mine;\n")
    with pytest.raises(OverwriteError, match=r"m\.tflite\.h exists"):
        exported("sudoku4", path, granularity="block", c_array=True)


def test_a_file_for_litert_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    te.export(shipped_checkpoint("sudoku4"), path)
    with pytest.raises(TRMError, match="before its answer was complete"):
        ServerRunner(shlex.join([sys.executable, str(SERVER), str(path)]))
