"""The table of docs/devices.md: generated C on emulated Cortex-M boards.

    python -m benchmarks.measure_micro

Flash and RAM come from the linker's map, instructions (not cycles) from the emulator.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import trm_export as te
from runtimes.micro.emulated import BOARDS, Answer, Step, build, run, sizes
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import get_task
from trm_runtime import solve

COUNTS = {"sudoku4": 10, "maze9": 10, "sudoku9": 10}  # puzzles


def main() -> None:
    heads = ("model", "precision", "core", "answers", "steps", "flash", "RAM", "M instructions")
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in COUNTS:
            for precision in ("fp32", "int8"):
                rows(name, precision, Path(scratch))


def rows(name: str, precision: str, scratch: Path) -> None:
    model = te.load(shipped_checkpoint(name))
    code = te.export_c(model, scratch / f"{name}-{precision}", precision=precision).path
    alphabet = get_task(name).alphabet
    expected = solve(KerasRunner(model), get_task(name).puzzles("test", count=COUNTS[name]).inputs)
    puzzles = ["".join(alphabet[cell][0] for cell in row) for row in expected.puzzles.tolist()]
    for board in ("an386", "an500"):
        firmware = build(code, scratch / f"{name}-{precision}-{board}", board)
        reports, size = list(run(firmware, puzzles, board)), sizes(firmware)
        answers = [report for report in reports if isinstance(report, Answer)]
        counts = [report.instructions for report in reports if isinstance(report, Step)]
        same = sum(a.cells == text for a, text in zip(answers, expected.texts, strict=True))
        steps = sum(a.steps == n for a, n in zip(answers, expected.steps, strict=True))
        total, flash, ram = len(puzzles), f"{size.flash:,}", f"{size.ram:,}"
        cells = (BOARDS[board], f"{same}/{total}", f"{steps}/{total}", flash, ram)
        print(f"| {name} | {precision} | {' | '.join(cells)} | {np.mean(counts) / 1e6:.1f} |")


if __name__ == "__main__":
    main()
