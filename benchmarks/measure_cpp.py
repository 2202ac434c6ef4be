"""The table of docs/devices.md: the C++ driver over both engines, on sudoku9.

    python -m benchmarks.measure_cpp build/cpp/trm FOLDER

FOLDER keeps the exports and the golden. Milliseconds are processor time of one step of one puzzle
on one thread: what 16 more puzzles take. Resident memory is the largest of a process of its own.
TRM_ONNXRUNTIME and TRM_LITERT name the engines.
"""

from __future__ import annotations

import json
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
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""  # in a small process: a child's memory is at least that of its parent when it was started


def used(trm: str, file: Path, boards: Path) -> tuple[float, int]:
    """Processor time in seconds and resident memory in kB of solving these boards step by step."""
    rule = [] if "loop" in file.name else ["--batch-size", "1", "--halt", "max_steps"]
    words = [trm, str(file), str(boards), "--threads", "1", *rule]
    done = subprocess.run([sys.executable, "-S", "-c", _MEASURE, *words], capture_output=True)
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes)


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
    heads = (
        "file | verdict | answers | steps | forced values | ms a step | resident memory, MB | bytes"
    )
    print(f"| engine | {heads} |")
    print("|---" * 9 + "|")
    if not (golden := folder / "golden.npz").exists():
        te.record(model, output=golden, count=200, states=64, control=False, device="cpu")
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
        engine = "ONNX Runtime" if name.endswith(".onnx") else "LiteRT"
        print(f"| {engine} | {name} | {result} | {each} | {memory / 1024:.0f} | "
              f"{(folder / name).stat().st_size:,} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
