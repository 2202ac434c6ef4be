"""The table of docs/devices.md: the C++ driver over both engines, on sudoku9.

    python -m benchmarks.measure_cpp build/cpp/trm FOLDER

FOLDER keeps the exports and the golden. Milliseconds are processor time of one step of one puzzle
on one thread: what 16 more puzzles take. Resident memory is the largest of a process of its own.
TRM_ONNXRUNTIME and TRM_LITERT name the engines.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.tasks import get_task

FILES: dict[str, dict[str, Any]] = {
    "sudoku9.onnx": {},
    "sudoku9-int8.onnx": {"precision": "int8"},
    "sudoku9-loop.onnx": {"granularity": "loop"},
    "sudoku9.tflite": {},
    "sudoku9-int8.tflite": {"precision": "int8"},
    "sudoku9-loop.tflite": {"granularity": "loop"},
}
FEW, MANY = 2, 18  # puzzles
MAX_STEPS = 16


def used(trm: str, file: Path, boards: Path) -> tuple[float, int]:
    """Processor time in seconds and resident memory in kB of solving these boards step by step."""
    rule = [] if "loop" in file.name else ["--batch-size", "1", "--halt", "max_steps"]
    words = [trm, str(file), str(boards), "--threads", "1", *rule]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def judged(trm: str, file: Path, golden: Path) -> str:
    """Verdict, equal answers and equal steps of the puzzles that the reference settles."""
    command = shlex.join([trm, "--serve", str(file), "--threads", "1"])
    words = [sys.executable, "-m", "trm_runtime", "check", "--command", command, golden, "--json"]
    found = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)
    rungs = {rung["name"]: rung["summary"] for rung in found["rungs"]}
    decided = [rungs[name].partition(" settled")[0] for name in ("answers", "halting steps")]
    forced = "" if "loop" in file.name else rungs["forced values"].partition(" (")[0]
    return " | ".join([found["verdict"].split()[0], *decided, forced])


def main() -> None:
    trm, folder = sys.argv[1], Path(sys.argv[2])
    task, model = get_task("sudoku9"), shipped_checkpoint("sudoku9")
    print("| file | verdict | answers | steps | forced | ms a step | resident memory, MB | bytes |")
    print("|---" * 8 + "|")
    if not (golden := folder / "golden.npz").exists():
        te.record(model, output=golden, count=40, control=False, device="cpu")
    puzzles = task.puzzles("test", count=MANY).inputs
    lines = ["".join(task.alphabet[cell][0] for cell in row) for row in puzzles.tolist()]
    for count in (FEW, MANY):
        (folder / f"{count}.txt").write_text("\n".join(lines[:count]))
    for name, options in FILES.items():
        if not (folder / name).exists():
            te.export(model, folder / name, **options)
        result = judged(trm, folder / name, golden)
        few, memory = used(trm, folder / name, folder / f"{FEW}.txt")
        many, _ = used(trm, folder / name, folder / f"{MANY}.txt")
        steps = (MANY - FEW) * MAX_STEPS
        each = "" if "loop" in name else f"{(many - few) / steps * 1000:.1f}"
        print(f"| {name} | {result} | {each} | {memory / 1024:.0f} | "
              f"{(folder / name).stat().st_size:,} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
