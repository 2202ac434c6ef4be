"""--isolate: a crash, a memory limit and a time limit are errors; everything else is as without."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.graphs import build, write
from trm_runtime import isolation
from trm_runtime.drivers.refusals import cannot_open, cannot_step
from trm_runtime.errors import MissingExtraError, RejectedInputError, UsageError

pytest.importorskip("onnxruntime")
pytest.importorskip("resource")

ROOT = Path(__file__).parents[2]
CRASH = "import os; os.kill(os.getpid(), {})"


def run(*words: Any, module: str = "trm_runtime", **options: Any) -> Any:
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=200, cwd=ROOT, check=False, **options
    )


@pytest.fixture
def puzzles(tmp_path: Path) -> Path:
    path = tmp_path / "puzzles.txt"
    path.write_text(".123\n3111\n")
    return path


def engine(folder: Path, code: str, module: str = "onnxruntime") -> dict[str, str]:
    """The environment in which loading a module, as the engine is at its first use, runs code."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            exec(compile({code!r}, 'hook', 'exec'))\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def test_a_sound_file_is_run_as_without(toy_onnx: Path, puzzles: Path) -> None:
    plain, isolated = run(toy_onnx, puzzles), run(toy_onnx, puzzles, "--isolate")
    assert isolated.stdout == plain.stdout
    assert isolated.returncode == plain.returncode == 7  # the toy changes given cells
    assert isolated.stderr.count("\n") == plain.stderr.count("\n")
    piped = run(toy_onnx, "-", "--isolate", "--json", input=".123\n")
    assert json.loads(piped.stdout)["puzzles"][0]["answer"] == "1234"


def test_without_a_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(prefix: str) -> str:
        raise OSError(errno.ENOSPC, f"no room for {prefix}")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert isolation.rerun([sys.executable, "-c", "raise SystemExit(3)"]) == 3


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE])
def test_a_crash_is_exit_code_4(
    toy_onnx: Path, puzzles: Path, tmp_path: Path, as_json: bool, number: signal.Signals
) -> None:
    environment = engine(tmp_path / "site", CRASH.format(int(number)))
    options = ["--isolate", *["--json"] * as_json]
    done = run(toy_onnx, puzzles, *options, env=environment)
    message = f"{toy_onnx}: the process that opened it crashed ({number.name}); do not use it"
    assert done.returncode == 4
    if as_json:
        error = json.loads(done.stdout)["error"]
        assert (error["exit_code"], error["type"]) == (4, "RejectedInputError")
        assert error["message"].startswith(message)
    else:
        remedy = ", export it again, or allow more memory with --isolate-memory."
        assert done.stderr == f"Error: {message}{remedy}\n"
    assert run(toy_onnx, puzzles, env=environment).returncode == -number  # without --isolate


NO_MEMORY = "This needs more memory than --isolate-memory allows; allow more, or do not use it."


def test_the_limits_of_memory_and_time(toy_onnx: Path, puzzles: Path, tmp_path: Path) -> None:
    greedy = engine(tmp_path / "greedy", "self.held = bytearray(1_000_000_000)")
    done = run(toy_onnx, puzzles, "--isolate", "--isolate-memory", 500, env=greedy)
    assert (done.returncode, done.stderr) == (
        4, f"Error: {NO_MEMORY}\n",
    )  # fmt: skip
    assert run(toy_onnx, puzzles, "--isolate", env=greedy).returncode == 7
    endless = engine(tmp_path / "endless", "while True: pass")
    started = time.monotonic()
    done = run(toy_onnx, puzzles, "--isolate", "--isolate-seconds", 1.5, env=endless)
    assert done.returncode == 4
    assert done.stderr.endswith(
        f"{toy_onnx}: the process that opened it took longer than --isolate-seconds allows; allow "
        "more, or do not use it.\n"
    )
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("megabytes", [1, 30])
@pytest.mark.parametrize("module", ["trm_runtime", "trm_export"])
def test_limits_below_what_an_engine_needs_to_load(
    toy_onnx: Path, puzzles: Path, megabytes: int, module: str
) -> None:
    limit = ["--isolate", "--isolate-memory", megabytes]
    words = [toy_onnx, puzzles] if module == "trm_runtime" else ["evaluate", toy_onnx]
    done = run(*words, *limit, "--json", module=module)
    assert done.returncode == 4, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["message"] == NO_MEMORY
    if module == "trm_runtime":
        done = run(*words, *limit)
        assert done.returncode == 4
        assert done.stderr.endswith(f"Error: {error['message']}\n")  # an engine may say more above


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(("text", "of_memory"), [("x = 1\n", True), ("if x\n", False)])
def test_a_compiler_short_of_memory_calls_right_code_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, of_memory: bool, inside: bool
) -> None:
    code = tmp_path / "code.py"
    code.write_text(text)
    if inside:
        monkeypatch.setenv("TRM_ISOLATED_BY", str(os.getpid()))
    error = SyntaxError("expected ':'", (str(code), 1, 5, "x = 1\n"))
    found = isolation.explained(error)
    assert (found is error) != (of_memory and inside)
    assert found is error or str(found) == NO_MEMORY


@pytest.mark.parametrize("of_memory", [True, False])
def test_any_error_without_memory_left_is_of_the_limit(
    toy_onnx: Path, puzzles: Path, tmp_path: Path, of_memory: bool
) -> None:
    """What Python's parser raises then can be a ValueError without a file."""
    hold = (
        "import sys\nsys.held = []\n"
        "try:\n    while True: sys.held.append(bytearray(1_000_000))\n"
        "except MemoryError: pass\n"
    )
    code = f"{hold * of_memory}raise ValueError('no target')"
    environment = engine(tmp_path / "site", code, "trm_runtime.loop")
    limit = ["--isolate-memory", 300] if of_memory else []
    done = run(toy_onnx, puzzles, "--isolate", *limit, env=environment)
    assert done.returncode == 4
    failed = "The command failed on this file (ValueError: no target)"
    assert f"Error: {NO_MEMORY if of_memory else failed}" in done.stderr  # Python may say more


def test_a_failure_in_the_child_has_one_type(toy_onnx: Path, tmp_path: Path) -> None:
    puzzles = tmp_path / "puzzles.csv"
    puzzles.write_text("puzzle,solution\n.123,1111\n")
    environment = engine(tmp_path / "site", "raise ValueError('no target')", "trm_runtime.loop")
    for words, module in (
        (["evaluate", toy_onnx, "--puzzles", puzzles], "trm_export"),
        ([toy_onnx, puzzles], "trm_runtime"),
    ):
        done = run(*words, "--isolate", "--json", module=module, env=environment)
        error = json.loads(done.stdout)["error"]
        assert (error["type"], error["exit_code"]) == ("RejectedInputError", 4)
        assert "The command failed on this file (ValueError: no target)" in error["message"]


@pytest.mark.parametrize(
    "said",
    [
        "bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 2097152",
        "OOM when allocating tensor with shape[2048,512] and type float",
        "std::bad_alloc",
        "RESOURCE_EXHAUSTED: Out of memory",
        "Status: 1, message: could not create a primitive, in file mkl_transpose_op.cc:106",
    ],
)
def test_an_engine_without_memory(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    path, cause = Path("a.onnx"), RuntimeError(f"Graph execution error:\n{said}")
    error = cannot_step(path, "engine", cause)
    assert str(error) == (
        "a.onnx: engine has not enough memory for a step; use a smaller batch, or another device."
    )
    assert error.exit_code == 1
    opening = cannot_open(path, "engine", said, "onnx")
    assert str(opening) == "a.onnx: engine has not enough memory to open it; free some."
    error.__cause__ = opening.__cause__ = cause
    assert isolation.explained(error) is error
    monkeypatch.setenv("TRM_ISOLATED_BY", str(os.getpid()))
    assert [str(isolation.explained(one)) for one in (error, opening)] == [NO_MEMORY] * 2
    error.__cause__ = RuntimeError(f"{said} on /device:GPU:0")  # no limit of main memory
    assert isolation.explained(error) is error
    named = UsageError(f"/data/{said}/a.onnx: no such file")
    assert isolation.explained(named) is named
    other = cannot_step(path, "engine", RuntimeError("an index is out of range"))
    assert isolation.explained(other) is other
    assert isinstance(other, RejectedInputError)


def test_an_engine_that_could_not_be_loaded_without_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = MissingExtraError("tensorflow is installed but cannot be loaded")
    monkeypatch.setattr(isolation, "_SPARE", 1 << 60)
    assert isolation.explained(error) is error
    monkeypatch.setenv("TRM_ISOLATED_BY", str(os.getpid()))
    assert str(isolation.explained(error)) == NO_MEMORY
    monkeypatch.setattr(isolation, "_SPARE", 1)
    assert isolation.explained(error) is error


@pytest.mark.parametrize("code", ["sys.exit(1)", "import os; os._exit(1)"])
def test_an_end_without_a_word(toy_onnx: Path, puzzles: Path, tmp_path: Path, code: str) -> None:
    environment = engine(tmp_path / "site", code)
    done = run(toy_onnx, puzzles, "--isolate", "--json", env=environment)
    assert done.returncode == json.loads(done.stdout)["error"]["exit_code"] == 4
    failing = engine(tmp_path / "failing", "raise KeyError('what\\nnot')")
    done = run(toy_onnx, puzzles, "--isolate", env=failing)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)  # broken, and no matter of memory


@pytest.mark.parametrize("option", ["--isolate-memory", "--isolate-seconds"])
@pytest.mark.parametrize("module", ["trm_runtime", "trm_export"])
def test_limits_without_a_child(toy_onnx: Path, puzzles: Path, option: str, module: str) -> None:
    words = [toy_onnx, puzzles] if module == "trm_runtime" else ["evaluate", toy_onnx]
    done = run(*words, option, 5, module=module)
    assert done.returncode == 2
    assert done.stderr == f"Error: {option} is for --isolate; give both, or drop it.\n"


@pytest.mark.parametrize("option", ["--isolate-memory", "--isolate-seconds"])
def test_limits_that_are_none(toy_onnx: Path, puzzles: Path, option: str) -> None:
    done = run(toy_onnx, puzzles, "--isolate", option, 0)
    assert done.returncode == 2
    assert done.stderr == f"Error: {option} must be above 0, got 0.\n"


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")],
)
def test_signals_end_both(
    toy_onnx: Path, puzzles: Path, tmp_path: Path, number: int, code: int, text: str
) -> None:
    marker = tmp_path / "started"
    wait = f"import pathlib, time; pathlib.Path({str(marker)!r}).touch(); time.sleep(100)"
    command = [sys.executable, "-m", "trm_runtime", str(toy_onnx), str(puzzles), "--isolate"]
    environment = engine(tmp_path / "site", wait)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stderr=pipe, text=True) as process:
        while not marker.exists():
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.strip() == text


def test_the_child_ends_with_a_killed_parent(toy_onnx: Path, puzzles: Path, tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux ends a process with its parent")
    marker = tmp_path / "pid"
    code = f"import os, pathlib, time; open({str(marker)!r}, 'w').write(str(os.getpid()))"
    environment = engine(tmp_path / "site", f"{code}; time.sleep(100)")
    command = [sys.executable, "-m", "trm_runtime", str(toy_onnx), str(puzzles), "--isolate"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        while not (marker.exists() and marker.read_text()):
            time.sleep(0.05)
        child = int(marker.read_text())
        assert child != process.pid
        process.kill()
    until = time.monotonic() + 20
    while time.monotonic() < until and Path(f"/proc/{child}/status").exists():
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists()


def test_only_a_process_that_is_isolated_is_confined() -> None:
    assert not isolation.inside()
    assert isinstance(isolation.crashed("a.onnx", signal.SIGKILL), RejectedInputError)
    assert "perhaps because memory ran out" in str(isolation.crashed("a.onnx", signal.SIGKILL))
    with pytest.raises(UsageError, match="--isolate-memory must be above 0"):
        isolation.confine(0, 1.0)


def test_host_commands(tmp_path: Path) -> None:
    """One that loads no framework; the child's code and its JSON pass through."""
    path = write(tmp_path / "toy.onnx", build())
    done = run("inspect", path, "--isolate", "--json", module="trm_export")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert run("inspect", path, "--isolate", module="trm_export").returncode == 4
    done = run("inspect", path, "--isolate", "--isolate-memory", "none", module="trm_export")
    assert done.returncode == 2
    crash = engine(tmp_path / "site", CRASH.format(int(signal.SIGSEGV)))
    write(path, build())
    puzzles = tmp_path / "puzzles.csv"
    puzzles.write_text("puzzle,solution\n.123,1111\n")
    for words in (["evaluate", path, "--puzzles", puzzles], ["reference", path, puzzles]):
        done = run(*words, "--isolate", module="trm_export", env=crash)
        assert done.returncode == 4
        assert f"{path}: the process that opened it crashed (SIGSEGV)" in done.stderr
    script = subprocess.run(
        [sys.executable, "cli.py", "reference", str(path), str(puzzles), "--isolate"],
        cwd=ROOT, env=crash, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert script.returncode == 4


def test_build_servers_are_told_of_a_file_that_ends_the_process(tmp_path: Path) -> None:
    path, temporary = write(tmp_path / "toy.onnx", build()), tmp_path / "temporary"
    temporary.mkdir()
    crash = engine(tmp_path / "site", CRASH.format(int(signal.SIGSEGV)), module="keras")
    crash["TMPDIR"] = str(temporary)
    junit, summary = tmp_path / "r.xml", tmp_path / "s.md"
    files = ["--junit", junit, f"--summary={summary}"]
    words = ["parity", ROOT / "artifacts" / "sudoku4.keras", path, *files, "--isolate"]
    done = run(*words, module="trm_export", env=crash)
    assert done.returncode == 4
    assert "the process that opened it crashed (SIGSEGV)" in done.stderr
    for told in (junit, summary):
        assert "the process that opened it crashed (SIGSEGV)" in told.read_text()
    assert list(temporary.iterdir()) == []
    done = run(*words, "--isolate-seconds", 0, module="trm_export", env=crash)
    assert done.returncode == 2
    assert summary.read_text().count("SIGSEGV") == 1
