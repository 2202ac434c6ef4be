"""Signals end commands and what they started, wherever they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.interrupting import ROOT, SAID, commands, interrupted
from tests.faults.interrupting import begun as begun_command

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are looked up in /proc"
)

HOLDS_ALL = """
import ctypes
from trm_export.commands.support import interruption
interruption.install()
lock, system = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
system.pthread_mutex_lock(lock)
print("ready", flush=True)
system.pthread_mutex_lock(lock)  # waits for ever, and lets no other thread run
"""
REMOVES = """
import sys, time
from trm_export.commands.support import interruption
from trm_export.files import atomic_write
from trm_export.leftovers import scratch_folder
interruption.install(as_json="--json" in sys.argv)
with scratch_folder() as scratch, atomic_write("m.json") as new:
    (scratch / "file").write_text("half")
    new.write_text("half")
    print("ready", flush=True)
    try:
        time.sleep(100)
    except BaseException:
        print("nothing is raised here")
"""


def begun(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Runs Python code until it says that it is ready."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtimes")])
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_what_is_temporary_and_raises_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    running = begun(REMOVES, tmp_path)
    running.send_signal(number)
    out, error = running.communicate(timeout=60)
    assert (running.returncode, error) == SAID[number]
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_with_json_the_end_is_a_document(tmp_path: Path) -> None:
    running = begun(REMOVES, tmp_path, "--json")
    running.send_signal(signal.SIGINT)
    out, error = running.communicate(timeout=60)
    assert (running.returncode, error) == (130, "")
    assert '"exit_code": 130' in out


def test_an_engine_that_lets_no_thread_run_is_killed(tmp_path: Path) -> None:
    running = begun(HOLDS_ALL, tmp_path)
    time.sleep(0.5)  # from the word to the lock
    running.send_signal(signal.SIGINT)
    out, error = running.communicate(timeout=60)
    assert (out, error) == ("", "Killed, because it did not end within 3 s of the signal.\n")
    assert running.returncode == -signal.SIGKILL


LOADS = """
import sys, time
class Slow:
    def find_spec(self, name, path, target=None):
        if name == "trm_runtime.isolation":
            print("ready", flush=True)
            time.sleep(100)
sys.meta_path.insert(0, Slow())
from trm_export.commands import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_loading_says_so_too(tmp_path: Path, number: signal.Signals) -> None:
    running = begun(LOADS, tmp_path)
    running.send_signal(number)
    out, error = running.communicate(timeout=60)
    assert ((running.returncode, error), out) == (SAID[number], "")


TAKES_LONGER = """
import sys, time
from trm_export.commands.support import interruption
interruption.install(as_json="--json" in sys.argv)
def heard(reason):
    interruption.if_killed(int(sys.argv[1]), "Half is kept.")
    interruption.say("heard")
    return True
with interruption.postponed(heard, int(sys.argv[1])):
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_exceeds_the_time_it_took_says_what_is_kept(
    tmp_path: Path, number: signal.Signals
) -> None:
    running = begun(TAKES_LONGER, tmp_path, "1")
    running.send_signal(number)
    out, error = running.communicate(timeout=60)
    told = "Killed, because it did not end within 1 s of the signal. Half is kept.\n"
    assert (running.returncode, out, error) == (-signal.SIGKILL, "", f"heard\n{told}")


def test_a_second_signal_says_what_is_kept_as_well(tmp_path: Path) -> None:
    running = begun(TAKES_LONGER, tmp_path, "99", "--json")
    running.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    running.send_signal(signal.SIGTERM)
    out, error = running.communicate(timeout=60)
    assert (running.returncode, error) == (-signal.SIGKILL, "heard\n")
    assert json.loads(out)["error"] == {
        "type": "KeyboardInterrupt", "message": "Killed by the second signal. Half is kept.",
        "problems": [], "exit_code": 137,
    }  # fmt: skip


ENDS = """
import atexit, signal, sys
from trm_export.commands.support import interruption
interruption.install()
class Slow:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
slow = Slow()
atexit.register(print, "the exit functions are run")
print("ready")
interruption.leave(5)
"""


def test_a_command_that_has_done_its_work_is_not_killed_by_a_late_signal(tmp_path: Path) -> None:
    running = begun(ENDS, tmp_path)
    assert running.stdout is not None
    assert running.stdout.read() == "the exit functions are run\n"
    assert running.communicate(timeout=60)[1] == ""
    assert running.returncode == 5


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("delay", [1.5, 4.0])
@pytest.mark.parametrize("name", ["parity --jobs", "evaluate", "saved-model"])
def test_commands_end_and_leave_nothing(
    tmp_path: Path, artifact: Path, name: str, delay: float, group: bool
) -> None:
    command = commands(artifact.parent)[name]
    found = interrupted(command, tmp_path / "scratch", delay, signal.SIGINT, group=group)
    assert found.left == []
    assert found.finished or (found.code, found.error) == SAID[signal.SIGINT]


def test_all_that_is_interrupted_names_what_is_finished(tmp_path: Path) -> None:
    running = begun_command(commands(tmp_path)["all"], tmp_path / "scratch")
    while not list(tmp_path.glob("all/*.measured.json")):
        time.sleep(0.02)
    time.sleep(0.5)
    running.send_signal(signal.SIGTERM)
    error = running.communicate(timeout=60)[1]
    first, second = error.splitlines()[-2:]
    assert (running.returncode, first) == (143, "Terminated.")
    assert second.startswith(f"Finished files: {tmp_path / 'all' / 'sudoku4'}")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export for the commands that read one."""
    from trm_export.commands.support.app import run

    folder = tmp_path_factory.mktemp("exports")
    assert run(commands(folder)["onnx"]) == 0
    return folder / "m.onnx"
