"""Rolled against unrolled recursion in TFLite: step time and memory, one process a measurement.

    python benchmarks/measure_recursion.py [MODEL.keras | PRESET]   (default: paper-sudoku-mlp)

Each precision is exported both ways; the files are measured in turns, and medians are compared.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from trm_export.artifacts.benchmark import BenchRow, bench
from trm_export.checkpoints.loading import load_model
from trm_export.exporters.export import Choices, format_named, plan
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.model import PRESETS, TRM, preset

ROUNDS = 3
PRECISIONS = ("fp32", "int8")
RECURSIONS = ("rolled", "unrolled")


def main(name: str) -> None:
    """Prints a line a file, and the ratios of each precision."""
    model = TRM(**preset(name)) if name in PRESETS else load_model(Path(name))
    with tempfile.TemporaryDirectory() as folder:
        files = exported(model, Path(folder))
        tokens = probe_puzzles(model, 1).inputs
        rows: dict[tuple[str, str], list[BenchRow]] = {key: [] for key in files}
        for _ in range(ROUNDS):
            for key, path in files.items():
                rows[key].append(bench(path, tokens))
    for precision in PRECISIONS:
        times = {}
        for recursion in RECURSIONS:
            found = rows[precision, recursion]
            times[recursion] = statistics.median(row.step_ms for row in found)
            memory = statistics.median(row.resident_mb or 0.0 for row in found)
            size = found[0].bytes / 1e6
            print(
                f"{precision:12} {recursion:9} {size:6.2f} MB  {times[recursion]:7.2f} ms/step  "
                f"{memory:6.1f} MB resident, {memory / size:5.2f} x the file"
            )
        ratio = times["rolled"] / times["unrolled"]
        print(f"{precision:12} rolled takes {ratio:.3f} x the time of unrolled")


def exported(model: TRM, folder: Path) -> dict[tuple[str, str], Path]:
    """Every file, unchecked: an untrained model has nothing to be right about."""
    kind, puzzles, shared = format_named("tflite"), probe_puzzles(model), Shared(model)
    files = {}
    for precision in PRECISIONS:
        for recursion in RECURSIONS:
            path = folder / f"{precision}-{recursion}.tflite"
            kind.write(
                plan(model, puzzles, kind, Choices(precision, recursion=recursion), shared), path
            )
            files[precision, recursion] = path
            print(path.name, file=sys.stderr)
    return files


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "paper-sudoku-mlp")
