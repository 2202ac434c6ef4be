"""Ctrl-C and `kill` end every command of the device with a message, a whole document and a code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.fakes import FakeRunner
from tests.runtime.test_isolation import engine
from tests.runtime.test_servers import Puzzles
from tests.runtime.test_untrusted import write_endless
from trm_runtime.parity import record
from trm_runtime.parity.golden_file import write_golden

pytest.importorskip("onnxruntime")
pytest.importorskip("resource")

ENDS = pytest.mark.parametrize(
    ("number", "code", "name", "text"),
    [
        (signal.SIGINT, 130, "KeyboardInterrupt", "Interrupted."),
        (signal.SIGTERM, 143, "TerminatedError", "Terminated."),
    ],
)
WAITS = "import pathlib, time; pathlib.Path({!r}).touch(); time.sleep(100)"


INTERRUPTED_LINES = """
import signal, sys
from trm_runtime.streams import prepare_streams
class Caught(Exception): pass
def caught(*signal_and_frame): raise Caught
prepare_streams()
signal.signal(signal.SIGALRM, caught)
for n in range(5000):
    sys.stdout.write(f"{n}\\n")
    try:
        signal.setitimer(signal.ITIMER_REAL, {delay})
        sys.stdout.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Caught:
        sys.stdout.flush()
"""


@contextmanager
def started(words: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "trm_runtime", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(marker: Path) -> None:
    while not marker.exists():
        time.sleep(0.02)


def error_of(document: str) -> tuple[str, str, int]:
    error = json.loads(document)["error"]
    return error["type"], error["message"], error["exit_code"]


@pytest.mark.parametrize("delay", ["8e-6", "12e-6"])  # in the middle of a flush
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_is_written_once_whenever_a_signal_comes(unbuffered: str, delay: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_LINES.replace("{delay}", delay)],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [int(line) for line in done.stdout.splitlines()] == [*range(5000)]


@ENDS
def test_answers_that_are_written_stay_a_whole_document(
    toy_onnx: Path, number: int, code: int, name: str, text: str
) -> None:
    with started([toy_onnx, "-", "--json"]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(".123\n")
        process.stdin.flush()
        head, answer = process.stdout.readline(), process.stdout.readline()
        for _ in range(2):  # as `timeout` does
            process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert error_of(head + answer + rest) == (name, text, code)
    assert len(json.loads(head + answer + rest)["puzzles"]) == 1


@ENDS
def test_answers_of_a_child_are_not_lost(
    toy_onnx: Path, tmp_path: Path, number: int, code: int, name: str, text: str
) -> None:
    with started([toy_onnx, "-", "--json", "--isolate"]) as process:
        assert process.stdin is not None
        process.stdin.write(".123\n")
        process.stdin.flush()
        time.sleep(3)  # the parent keeps its output until it ends
        process.send_signal(number)
        process.wait(60)  # with its input open, so that only the signal ends it
        out, _ = process.communicate()
    assert process.returncode == code
    assert error_of(out) == (name, text, code)
    assert len(json.loads(out)["puzzles"]) == 1


@ENDS
@pytest.mark.parametrize("command", ["solve", "check", "serve"])
def test_every_command_says_how_it_was_ended(
    toy_onnx: Path, tmp_path: Path, command: str, number: int, code: int, name: str, text: str
) -> None:
    marker, golden = tmp_path / "opening", tmp_path / "golden.npz"
    with golden.open("wb") as file:
        write_golden(file, record(FakeRunner(), Puzzles()))
    words: dict[str, list[object]] = {
        "solve": [toy_onnx, "-"],
        "check": ["check", toy_onnx, golden],
        "serve": ["serve", toy_onnx],
    }
    environment = engine(tmp_path / "site", WAITS.format(str(marker)))
    with started(words[command], env=environment) as process:
        until(marker)
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (code, "", f"{text}\n")


@ENDS
@pytest.mark.parametrize("as_json", [False, True])
def test_a_command_that_is_loading_says_so_too(
    toy_onnx: Path, tmp_path: Path, as_json: bool, number: int, code: int, name: str, text: str
) -> None:
    marker, options = tmp_path / "loading", ["--json"] * as_json
    environment = engine(tmp_path / "site", WAITS.format(str(marker)), "trm_runtime.command_line")
    with started([toy_onnx, "-", *options], env=environment) as process:
        until(marker)
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == code
    if as_json:
        assert (error_of(out), errors) == ((name, text, code), "")
    else:
        assert (out, errors) == ("", f"{text}\n")


@ENDS
def test_a_graph_that_never_ends_is_ended_by_a_signal(
    tmp_path: Path, number: int, code: int, name: str, text: str
) -> None:
    with started([write_endless(tmp_path / "endless.onnx"), "-", "--json"]) as process:
        assert process.stdin is not None
        process.stdin.write(".123\n")
        process.stdin.flush()
        used = 0.0
        while used < 2.0:  # seconds of a processor: the graph runs
            time.sleep(0.1)
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert error_of(out) == (name, text, code)
