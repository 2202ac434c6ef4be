"""Runs a command of trm-export, sends a signal at some moment, and looks at what is left."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trm_export.checkpoints.shipped import shipped_checkpoint

ROOT = Path(__file__).parents[2]
_SHORT = ("--steps", "300", "--batch-size", "16")
GIVE_UP = 60.0  # seconds after the signal
AT_ONCE = 1.0  # seconds in which a process that is exiting is gone, signal or not
SAID = {signal.SIGINT: (130, "Interrupted.\n"), signal.SIGTERM: (143, "Terminated.\n")}


@dataclasses.dataclass(frozen=True)
class Interrupt:
    """How one command ended."""

    code: int | None  # None: it had to be killed
    seconds: float  # from the signal until no process of it was left
    error: str  # what it wrote to standard error
    left: list[str]  # temporary files, and processes two seconds after the first one ended
    finished: bool  # before the signal came, or while it came


def commands(folder: Path) -> dict[str, list[str]]:
    """Every command that takes longer than a second, on small work; files go into the folder."""
    model = str(shipped_checkpoint("sudoku4"))
    out = {name: str(folder / name) for name in ("m.onnx", "m.tflite", "m_sm", "r.html", "g.npz")}
    judged = ["parity", model, out["m.onnx"]]
    return {
        "onnx": ["onnx", model, "-o", out["m.onnx"]],
        "tflite": ["tflite", model, "-o", out["m.tflite"], "--precision", "int8"],
        "saved-model": ["saved-model", model, "-o", out["m_sm"]],
        "reference": ["reference", model, "-o", out["g.npz"], "--count", "100", "--force"],
        "parity": [*judged, "--report", out["r.html"], "--count", "100"],
        "parity --jobs": [*judged, "--jobs", "2", "--count", "1300", "--no-control"],
        "tune": ["tune", out["m.onnx"], "--count", "100"],
        "evaluate": ["evaluate", model, "--count", "200"],
        "bench": ["bench", model, out["m.onnx"], out["m.tflite"]],
        "demo": ["demo", "sudoku4"],
        "all": ["all", model, "-o", str(folder / "all")],
        "train": ["train", "sudoku4", "-o", str(folder / "t.keras"), "--force", *_SHORT],
    }


def begun(command: Sequence[str], scratch: Path) -> subprocess.Popen[str]:
    """Starts it in a session of its own, with a folder for its temporary files."""
    scratch.mkdir(exist_ok=True)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtimes"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "trm_export", *command],
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupted(
    command: Sequence[str], scratch: Path, delay: float, number: int, *, group: bool
) -> Interrupt:
    """Sends the signal after so many seconds, to the process or, as a terminal, to its group."""
    running = begun(command, scratch)
    finished = True
    try:
        running.wait(delay)
    except subprocess.TimeoutExpired:
        finished = False
        (os.killpg if group else os.kill)(running.pid, number)
    sent = time.monotonic()
    try:
        error = running.communicate(timeout=GIVE_UP)[1]
        code: int | None = running.returncode
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        error, code = running.communicate()[1], None
    until = time.monotonic() + 2
    while (processes := in_session(running.pid)) and time.monotonic() < until:
        time.sleep(0.01)
    seconds = time.monotonic() - sent
    finished = finished or (code == 0 and seconds < AT_ONCE)
    return Interrupt(code, seconds, error, [*processes, *left_in(scratch)], finished)


def in_session(session: int) -> list[str]:
    """The living processes of a session."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:
            continue
        state, _, _, of = rest.split()[:4]
        if int(of) == session and state not in "ZX":
            found.append(f"process {name})")
    return found


def left_in(scratch: Path) -> list[str]:
    """Temporary files that were not removed; ONNX Runtime leaves one after every run."""
    return sorted(path.name for path in scratch.iterdir() if path.name != ".ses")
