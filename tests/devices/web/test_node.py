"""The browser runtime in node: its own tests, and the ladder over onnxruntime-web."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
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
    loop = next(rung["summary"] for rung in found["rungs"] if rung["name"] == "driver's loop")
    assert loop.startswith(f"of {30 if 'loop' in name else 70} puzzles")  # with those of the tries
    wanted = "not judged" if "loop" in name else "ok"
    assert rungs(found)["forced values"] == wanted


@pytest.mark.parametrize("name", ["sudoku4.onnx", "sudoku9.onnx"])
@pytest.mark.parametrize("choose", ["score", "vote"])
def test_tries_are_those_of_python_over_its_own_engine(
    name: str, choose: str, node: str, exported: Made
) -> None:
    from trm_export.tasks import get_task
    from trm_runtime import open_runner, solve
    from trm_runtime.servers.runner import LoopOptions, ServerRunner

    puzzles = np.asarray(get_task(name.partition(".")[0]).puzzles("test", count=5).inputs)
    options = LoopOptions(50.0, 2, None, 3, 4, "both", choose, 4_000_000_000, 0.2)
    given = dict(vars(options))
    command = shlex.join([node, str(WEB / "serve.mjs"), str(exported(name))])
    with ServerRunner(command) as server:
        found = server.solve({"inputs": puzzles}, options)
    runner = open_runner(exported(name))
    wanted = solve(runner, puzzles, batch_size=given.pop("slots"), **given)
    np.testing.assert_array_equal(found.answers, wanted.answers)
    np.testing.assert_array_equal(found.steps, wanted.steps)
    assert found.stop_reasons == wanted.stop_reasons
    assert set(found.about_tries) == {"tries", "total_steps", "chosen"}
    for key, values in wanted.about_tries.items():
        np.testing.assert_array_equal(found.about_tries[key], values, err_msg=key)


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


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The package without the packages that it needs; skips without node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed; make test-devices installs it on Debian")
    ignored = shutil.ignore_patterns("node_modules")
    return Path(shutil.copytree(WEB, tmp_path / "web", ignore=ignored))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("serve.mjs m.tflite", 4, "m.tflite: a TFLite file, which runs in browsers only; use "),
        ("serve.mjs m.onnx", 3, "run npm install onnxruntime-web."),
        ("serve-browser.mjs m.onnx --browser b", 3, "run npm install onnxruntime-web."),
        ("serve-browser.mjs m.tflite --browser b", 3, "run npm install @litertjs/core."),
        ("serve-browser.mjs missing --browser b", 4, "no such file"),
        ("serve-browser.mjs README.md --browser b", 4, "neither an ONNX nor a TFLite file"),
        *(
            (f"{server} m.onnx --threads {word}", 2, "--threads: expected 1 or more")
            for server in ("serve.mjs", "serve-browser.mjs")
            for word in ("x", "0", "1.5")
        ),
        *(
            (f"serve-browser.mjs m.onnx --port {word}", 2, "--port: expected 0 to 65535")
            for word in ("80x", "65536", "1.5")
        ),
        *(
            (f"{server} m.onnx --accelerator {word}", 2, told)
            for server, word, told in (
                ("serve-browser.mjs", "gpu", "--accelerator: expected wasm or webgpu, got gpu."),
                ("serve.mjs", "webgpu", "Unknown option '--accelerator'"),
            )
        ),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    words: str, code: int, told: str, bare: Path
) -> None:
    (bare / "m.tflite").write_bytes(b"\0\0\0\0TFL3\0\0\0\0")
    (bare / "m.onnx").write_bytes(b"\x08" * 12)
    done = subprocess.run(["node", *words.split()], cwd=bare, capture_output=True, input=b"")
    head = json.loads(done.stdout)
    assert done.returncode == head["exit_code"] == code
    assert told in head["error"]
    assert "openLitert" not in head["error"]


@pytest.mark.parametrize("missing", ["onnxruntime-web", "@litertjs/core"])
def test_no_demo_page_is_built_without_an_engine(missing: str, bare: Path) -> None:
    for name in {"onnxruntime-web", "@litertjs/core"} - {missing}:
        (bare / "node_modules" / name).mkdir(parents=True)
        (bare / "node_modules" / name / "package.json").touch()
    words = ["node", "demo/build.mjs", "page"]
    done = subprocess.run(words, cwd=bare, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"{missing} is not installed; run npm install {missing}.\n"
    assert not (bare / "page").exists()


@pytest.mark.parametrize("server", ["serve.mjs", "serve-browser.mjs"])
def test_help_is_the_usage(server: str, bare: Path) -> None:
    for word in ("--help", "-h"):
        done = subprocess.run(["node", server, word], cwd=bare, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: node {server} MODEL")


def test_a_changed_file_is_refused(
    node: str, exported: Made, recorded: Made, tmp_path: Path
) -> None:
    data = bytearray(exported("sudoku4.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.onnx").write_bytes(data)
    found = check(recorded("sudoku4"), node, WEB / "serve.mjs", tmp_path / "changed.onnx")
    assert found["exit_code"] == 4
    assert "does not match its checksum" in found["error"]["message"]
