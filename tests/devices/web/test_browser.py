"""The browser runtime in headless Chromium: the ladder over both engines, and the demo page."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.devices.web.conftest import EXPORTS, ROOT, WEB, Made
from tests.devices.web.ladder import check, rungs

PAGE_FILES = {
    "sudoku9-fp32.onnx": "sudoku9.onnx",
    "sudoku9-int8.onnx": "sudoku9-int8.onnx",
    "sudoku9-fp32.tflite": "sudoku9.tflite",
    "sudoku9-int8.tflite": "sudoku9-int8.tflite",
}


@pytest.mark.parametrize("name", [name for name in EXPORTS if name.startswith("sudoku9")])
def test_a_file_passes_the_ladder(
    name: str, node: str, chromium: str, exported: Made, recorded: Made
) -> None:
    server = (node, WEB / "serve-browser.mjs", exported(name), "--browser", chromium)
    found = check(recorded("sudoku9"), *server)
    assert found["exit_code"] == 0, found
    assert found["verdict"].startswith("PASSED on 10 puzzles.")
    assert "Chrome" in found["driver"]
    assert ("LiteRT.js" in found["driver"]) == name.endswith(".tflite")
    assert rungs(found)["driver's loop"] == rungs(found)["refusals"] == "ok"
    assert rungs(found)["forced values"] == ("not judged" if "loop" in name else "ok")


@pytest.mark.parametrize(
    ("name", "engine"), [("sudoku4.onnx", "onnxruntime-web"), ("sudoku4.tflite", "LiteRT.js")]
)
def test_a_file_passes_the_ladder_on_webgpu(
    name: str, engine: str, node: str, chromium: str, exported: Made, recorded_one: Made
) -> None:
    words = ("--browser", chromium, "--accelerator", "webgpu")
    found = check(recorded_one("sudoku4"), node, WEB / "serve-browser.mjs", exported(name), *words)
    assert found["exit_code"] == 0, found
    used = r" [\d.]+ on WebGPU \(google swiftshader, [1-9]\d+ dispatches a call\)"
    assert re.match(engine + used, found["driver"]), found["driver"]
    wanted = dict.fromkeys(("forced values", "answers", "halting steps", "driver's loop"), "ok")
    assert wanted.items() <= rungs(found).items()


@pytest.mark.parametrize("name", ["sudoku4.onnx", "sudoku4.tflite"])
def test_no_verdict_of_webgpu_without_an_adapter(
    name: str, node: str, chromium: str, exported: Made, recorded_one: Made, tmp_path: Path
) -> None:
    without = tmp_path / "without-gpu"
    flags = '"${@/--enable-unsafe-webgpu/--disable-gpu}"'
    without.write_text(f"#!/bin/bash\nexec {chromium} {flags}\n", encoding="utf-8")
    without.chmod(0o755)
    words = ("--browser", without, "--accelerator", "webgpu")
    found = check(recorded_one("sudoku4"), node, WEB / "serve-browser.mjs", exported(name), *words)
    assert found["exit_code"] == 3
    assert found["error"]["message"].endswith(
        "This browser has no WebGPU adapter; use --accelerator wasm."
    )


def test_litert_solves_on_webgpu(node: str, chromium: str, exported: Made) -> None:
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("runtimes/web/node_modules lacks playwright-core; run make test-devices")
    done = subprocess.run(
        [node, "--test", WEB / "test" / "browser" / "webgpu.test.mjs"],
        capture_output=True,
        text=True,
        env={**os.environ, "TRM_MODEL": str(exported("sudoku4.tflite")), "TRM_CHROMIUM": chromium},
    )
    assert done.returncode == 0, done.stdout[-5000:]


def test_bool_tensors_are_refused_for_litert_with_the_remedy(
    node: str, chromium: str, recorded: Made, tmp_path: Path
) -> None:
    import trm_export as te

    te.export(ROOT / "artifacts" / "sudoku4.keras", tmp_path / "bool.tflite")
    server = (node, WEB / "serve-browser.mjs", tmp_path / "bool.tflite", "--browser", chromium)
    found = check(recorded("sudoku4"), *server)
    assert found["exit_code"] == 4
    assert "export with --ports int32" in found["error"]["message"]


def test_a_browser_that_is_not_there_is_a_missing_package(
    node: str, exported: Made, recorded: Made
) -> None:
    server = (node, WEB / "serve-browser.mjs", exported("sudoku4.onnx"), "--browser", "nobody")
    assert check(recorded("sudoku4"), *server)["exit_code"] == 3


def served(
    node: list[str | Path], model: Path, browser: str | Path, temporary: Path
) -> subprocess.CompletedProcess[str]:
    """The end of a step server whose browser opens no page."""
    return subprocess.run(
        [*node, WEB / "serve-browser.mjs", model, "--browser", browser],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def test_what_a_browser_writes_after_its_end_is_removed(
    node: str, exported: Made, tmp_path: Path
) -> None:
    """Chromium's processes outlive the one that was started, and write into its profile."""
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, sys, time\n"
        "profile = next(word for word in sys.argv if word.startswith('--user-data-dir='))\n"
        "os.chdir(profile.partition('=')[2])\n"
        "if os.fork():\n"
        "    time.sleep(0.2)\n"
        "    os._exit(0)\n"
        "ended = time.monotonic() + 1.5\n"
        "n = 0\n"
        "while time.monotonic() < ended:\n"
        "    n += 1\n"
        "    pathlib.Path(str(n)).touch()\n",
        encoding="utf-8",
    )
    browser.chmod(0o755)
    (tmp_path / "temporary").mkdir()
    server = served([node], exported("sudoku4.onnx"), browser, tmp_path / "temporary")
    assert f"{browser} ended with exit code 0." in server.stdout
    assert (server.returncode, server.stderr) == (4, "")
    assert not list((tmp_path / "temporary").iterdir())


def test_a_browser_that_crashed_is_told_and_not_waited_for(
    node: str, exported: Made, tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/bash\nkill -9 $$\n", encoding="utf-8")
    browser.chmod(0o755)
    server = served([node], exported("sudoku4.onnx"), browser, tmp_path)
    assert server.returncode == 4
    assert f"{browser} ended with SIGKILL." in server.stdout


def test_a_profile_that_stays_costs_no_verdict(node: str, exported: Made, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mjs"
    broken.write_text(
        "import fs from 'node:fs';\n"
        "import { syncBuiltinESMExports } from 'node:module';\n"
        "fs.rmSync = (path) => { throw new Error(`ENOTEMPTY: ${path}`); };\n"
        "syncBuiltinESMExports();\n",
        encoding="utf-8",
    )
    server = served([node, "--import", broken], exported("sudoku4.onnx"), "true", tmp_path)
    assert "true ended with exit code 0." in server.stdout
    assert server.returncode == 4
    assert re.fullmatch(
        r"The profile of the browser stays: ENOTEMPTY: \S+trm-browser-\S+\n", server.stderr
    )


def test_a_browser_that_the_user_opens_is_judged(
    node: str, chromium: str, exported: Made, recorded: Made, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = (node, WEB / "serve-browser.mjs", exported("sudoku4.onnx"), "--port", port)
    golden, address = recorded("sudoku4"), f"http://127.0.0.1:{port}/judge/"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    with ThreadPoolExecutor() as pool:
        found = pool.submit(check, golden, *server, "--key", "judge", "--threads", "2")
        wait_for(address)
        assert status_of(f"http://127.0.0.1:{port}/") == 404
        browser = subprocess.Popen([chromium, *flags, address], stderr=subprocess.DEVNULL)
        try:
            assert found.result()["verdict"].startswith("PASSED")
        finally:
            browser.kill()
            browser.wait()


def status_of(address: str) -> int:
    """The HTTP status of an address; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(address) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def wait_for(address: str) -> None:
    for _ in range(600):
        if status_of(address) == 200:
            return
        time.sleep(0.1)
    pytest.fail(f"nobody answers at {address}")


def test_the_demo_page_has_todays_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    import trm_export as te
    from benchmarks import build_web_demo

    def built(model: keras.Model) -> tuple[str, dict[str, Any]]:
        entry = build_web_demo.export(model, path, "fp32")
        return capsys.readouterr().out, entry["contract"]["halt"]

    path = tmp_path / "four.onnx"
    model = te.load(ROOT / "artifacts" / "sudoku4.keras")
    told, halt = built(model)
    assert told == "four.onnx\n"
    assert built(model) == ("", halt)
    tuned = te.TRM.from_config({**model.get_config(), "halt_threshold": 7.0})
    tuned.set_weights(model.get_weights())
    assert built(tuned) == ("four.onnx\n", {**halt, "threshold": 7.0})
    tuned.set_weights([weight * 1.01 for weight in model.get_weights()])
    assert built(tuned) == ("four.onnx\n", {**halt, "threshold": 7.0})


def test_the_demo_page(node: str, chromium: str, exported: Made, tmp_path: Path) -> None:
    if not (WEB / "node_modules" / "playwright-core").is_dir():
        pytest.skip("runtimes/web/node_modules lacks playwright-core; run make test-devices")
    (tmp_path / "models").mkdir()
    for name, source in PAGE_FILES.items():
        for suffix in ("", ".json"):
            shutil.copy(f"{exported(source)}{suffix}", tmp_path / "models" / f"{name}{suffix}")
    build = [sys.executable, ROOT / "benchmarks" / "build_web_demo.py", tmp_path, "sudoku9"]
    subprocess.run([*build, "maze11"], check=True, capture_output=True, cwd=ROOT)
    subprocess.run([node, WEB / "demo" / "build.mjs", tmp_path], check=True, capture_output=True)
    done = subprocess.run(
        [node, "--test", WEB / "test" / "browser" / "demo.test.mjs"],
        capture_output=True,
        text=True,
        env={**os.environ, "TRM_DEMO": str(tmp_path), "TRM_CHROMIUM": chromium},
    )
    assert done.returncode == 0, done.stdout[-5000:]
