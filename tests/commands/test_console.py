"""What commands print with."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from tests.terminal import open_terminal
from trm_export.commands.support import console
from trm_runtime.contract import TensorSpec


def test_a_board_marks_what_is_new_and_what_is_wrong() -> None:
    from trm_export.commands.support.terminal_boards import board_text
    from trm_export.tasks import get_task

    task = get_task("sudoku4")
    puzzles = task.puzzles("test", count=1)
    clues, solution = puzzles.inputs[0], puzzles.solutions[0]
    first, second = task.blank_cells(clues).nonzero()[0][:2]
    answer, before = solution.copy(), solution.copy()
    before[first] = 2 + (solution[first] - 1) % 4
    answer[second] = 2 + (solution[second] - 1) % 4
    styles = [span.style for span in board_text(task, clues, answer, before, solution).spans]
    assert (styles.count("green"), styles.count("red")) == (1, 1)


def test_the_time_left_is_told_when_there_is_something_to_go_by() -> None:
    from rich.console import Console
    from rich.progress import Progress

    from trm_export.commands.support.bar import StageBar, _Time

    clock = [0.0]
    shown = Progress(console=Console(quiet=True), get_time=lambda: clock[0], auto_refresh=False)
    bar, told = StageBar(shown, "Loading"), []
    for clock[0], done in ((1.0, 0.5), (61.0, 0.505), (62.0, 0.51), (63.0, 0.6), (64.0, 0.7)):
        bar.advance(done, "Comparing")
        told.append(_Time().render(shown.tasks[0]).plain)
    assert not any("left" in text for text in told[:3])
    assert all("left" in text for text in told[3:])


def test_a_document_is_strict_json(capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "path": Path("a/b.onnx"),
        "array": np.array([[1, 2]], np.int32),
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "missing": float("nan"),
        "spec": TensorSpec("logits", "int8", (None, 81), 0.5, -3),
        3: ("tuple", None, True),
        "text": "naïve ✓",
    }
    console.emit(document)
    written = capsys.readouterr().out
    assert written.isascii()
    assert json.loads(written) == {
        "path": "a/b.onnx",
        "array": [[1, 2]],
        "scalar": 0.5,
        "flag": True,
        "missing": None,
        "spec": {
            "name": "logits",
            "dtype": "int8",
            "shape": [None, 81],
            "scale": 0.5,
            "zero_point": -3,
        },
        "3": ["tuple", None, True],
        "text": "naïve ✓",
    }


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (-512, "-512 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (20_700_000, "20.7 MB"),
        (5 * 10**15, "5e+03 TB"),
    ],
)
def test_bytes_text(size: int, text: str) -> None:
    assert console.bytes_text(size) == text


def test_tables_fit_the_terminal_and_break_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table("[title]", [("digest", "f" * 64), ("[b]name[/b]", "x\x1b[31m" * 30)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("f" * 64 in line for line in lines)
    assert "[title]" in lines[0]
    assert "[b]name[/b]" in "\n".join(lines)
    assert "\x1b" not in "".join(lines)


def test_columns_show_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_columns("a[red].keras", ("file", "ms"), [("q[/b]/x.onnx", "1"), ("\x1b]0;p", "2")])
    _, title, _, first, second = capsys.readouterr().out.splitlines()
    assert title.rstrip() == "a[red].keras"
    assert first.split() == ["q[/b]/x.onnx", "1"]
    assert second.split() == ["\\x1b]0;p", "2"]


@pytest.mark.parametrize("width", ["0", "00", ""])
def test_no_message_is_lost_in_a_terminal_without_width(width: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trm_export", "inspect", "nothing.keras"],
        env={**os.environ, "COLUMNS": width, "LINES": width},
        capture_output=True,
        text=True,
    )
    assert done.stderr.startswith("Error: nothing.keras: cannot be read")


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Working") as advance:
        advance(0.5)
        advance(1.0, "loss 0.5")
    assert capsys.readouterr() == ("", "")


def test_finished_stages_remain_as_lines_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Working", lines=True) as advance:
        advance(0.5, "Epoch 1: loss 0.7")
        advance(1.0, "Epoch 1: loss 0.5")
        advance(0.0, "Validating")
    assert capsys.readouterr() == ("", "Epoch 1: loss 0.5\n")


SHOW_PROGRESS = """
import os, sys
from trm_export.commands.support.console import progress, remark
with progress("Loading", lines=True) as advance:
    kept = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as while an engine is loaded
    advance(0.0, "Converting [bold]")
    os.dup2(kept, 2)
    remark("a remark")
    advance(1.0, "Epoch 1: loss 0.4")
    advance(0.0, "x" * 200)
    advance(0.5, "Epoch 2: loss 0.5")
remark("done")
print("result")
"""


def on_a_terminal(environment: dict[str, str]) -> tuple[str, str]:
    """stdout, piped, and stderr, a terminal of 80 columns, of the script above."""
    terminal, end = open_terminal()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-c", SHOW_PROGRESS]
    full = {**os.environ, "TERM": "xterm-256color", **environment}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=end, text=True, env=full)
    os.close(end)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    return done.stdout, shown


def drawn(shown: str) -> list[str]:
    """The lines that were drawn, without what moves the cursor or colours."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


def test_progress_goes_to_the_terminal_and_never_to_stdout() -> None:
    out, shown = on_a_terminal({})
    assert out == "result\n"
    assert "\x1b[3" in shown  # colour
    lines = drawn(shown)
    assert any(line.startswith("Converting [bold]") for line in lines)
    assert any(line.startswith("Epoch 2: loss 0.5") and "50%" in line for line in lines)
    assert any(line.startswith("xxx") for line in lines)
    assert {"a remark", "Epoch 1: loss 0.4"} <= {*lines}
    assert lines[-1] == "done"
    assert max(map(len, lines)) <= 80


def test_no_color_is_honoured() -> None:
    _, shown = on_a_terminal({"NO_COLOR": "1"})
    assert "Epoch 1" in shown
    assert "\x1b[3" not in shown
