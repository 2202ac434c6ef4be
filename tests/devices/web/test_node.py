"""The browser runtime in node: its own tests, and the ladder over onnxruntime-web."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.devices.web.conftest import EXPORTS, ROOT, WEB, Made
from tests.devices.web.ladder import check, rungs


def test_the_modules_pass_their_own_tests(node: str, exported: Made, tmp_path: Path) -> None:
    import trm_export as te

    models = {str(exported(name).parent) for name in EXPORTS}
    te.write_vectors(ROOT / "artifacts" / "sudoku4.keras", tmp_path / "vectors")
    done = subprocess.run(
        [node, "--test", *sorted(map(str, (WEB / "test").glob("*.test.mjs")))],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "TRM_MODELS": models.pop(),
            "TRM_VECTORS": str(tmp_path / "vectors"),
            "TRM_VECTORS_MODEL": str(exported("sudoku4.onnx")),
        },
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "# skipped 0\n" in done.stdout


@pytest.mark.parametrize("name", [name for name in EXPORTS if name.endswith(".onnx")])
def test_a_file_passes_the_ladder(name: str, node: str, exported: Made, recorded: Made) -> None:
    golden = recorded(name.partition(".")[0].partition("-")[0])
    found = check(golden, node, WEB / "serve.mjs", exported(name))
    assert found["exit_code"] == 0, found
    assert found["verdict"].startswith("PASSED on 10 puzzles.")
    assert rungs(found)["driver's loop"] == rungs(found)["refusals"] == "ok"
    wanted = "not judged" if "loop" in name else "ok"
    assert rungs(found)["forced values"] == wanted


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["a", "b"], 2),
        (["--threads", "0", "a"], 2),
        (["--unknown"], 2),
        (["missing.onnx"], 4),
        (["README.md"], 4),
    ],
)
def test_a_server_that_cannot_start_says_why(
    words: list[str], code: int, node: str, recorded: Made
) -> None:
    done = subprocess.run(
        [node, str(WEB / "serve.mjs"), *words], capture_output=True, cwd=WEB, input=b""
    )
    assert done.returncode == code
    assert done.stdout.startswith(b'{"error":"')
    assert check(recorded("sudoku4"), node, WEB / "serve.mjs", *words)["exit_code"] == code


def test_a_changed_file_is_refused(
    node: str, exported: Made, recorded: Made, tmp_path: Path
) -> None:
    data = bytearray(exported("sudoku4.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.onnx").write_bytes(data)
    found = check(recorded("sudoku4"), node, WEB / "serve.mjs", tmp_path / "changed.onnx")
    assert found["exit_code"] == 4
    assert "does not match its checksum" in found["error"]["message"]
