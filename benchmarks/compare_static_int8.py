"""Ways to a static int8 `.tflite`: TensorFlow's own quantiser on an unrolled step against ours.

    python benchmarks/compare_static_int8.py [MODEL.keras] [--count 300]

Both are calibrated on the same real rollouts. Prints, for each file, the worst forced cosine over
24 hard puzzles (45 to 60 blanks), exact accuracy, time and memory of a step. TensorFlow's quantiser
cannot take the rolled step: its calibrator crashes on loop bodies.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm_export.artifacts.benchmark import bench
from trm_export.checkpoints.loading import load_model
from trm_export.exporters import tflite
from trm_export.exporters.calibration import samples_for
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import format_named, plan
from trm_export.exporters.format import Job
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.tasks import find_task
from trm_runtime.drivers.tflite_file import append_contract
from trm_runtime.open import open_runner
from trm_runtime.parity import compare

HARD = 24  # puzzles for the forced comparison
WAYS = ("TensorFlow, unrolled", "ours, unrolled", "ours, rolled")


def main(path: Path, count: int) -> None:
    """Prints a line a way."""
    model = load_model(path)
    shared, kind = Shared(model), format_named("tflite")
    task = find_task(shared.model)
    if task is None:
        raise SystemExit(f"{path}: a model of a shipped task is needed")
    hard, some = task.puzzles("test", (45, 60), HARD), task.puzzles("test", (30, 60), count)
    for way in WAYS:
        recursion = "rolled" if way.endswith(" rolled") else "unrolled"
        job = plan(
            model, probe_puzzles(model), kind, Choices("int8-static", recursion=recursion), shared
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "m.tflite")
            if way.startswith("ours"):
                kind.write(job, file)
            else:
                file.write_bytes(tensorflows(job))
                append_contract(file, job.contract.to_json())
            forced = compare(shared.runner, open_runner(file), hard, steps_only=True).forced
            worst = min((e.cosine for e in forced if e.dtype == "float32"), default=float("nan"))
            row = bench(file, some.inputs, some.labels)
        print(
            f"{way:21} {row.bytes / 1e6:5.2f} MB  cosine {worst:7.4f}  exact {row.exact:6.1%}  "
            f"{row.step_ms:6.2f} ms/step  {row.resident_mb or 0:5.1f} MB resident",
            flush=True,
        )


def tensorflows(job: Job) -> bytes:
    """What TensorFlow's converter makes of the unrolled step and the same rollouts."""
    import tensorflow as tf

    name = job.contract.signature

    def feeds() -> Iterator[tuple[str, dict[str, Any]]]:
        for sample in samples_for(job).seen:
            arrays = {**sample.inputs, **sample.carry}
            for row in range(len(sample.inputs["inputs"])):
                yield name, {key: array[row : row + 1] for key, array in arrays.items()}

    saved = tflite._saved(job)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=[name])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = feeds
    ops = tf.lite.OpsSet
    converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8, ops.TFLITE_BUILTINS]
    data: bytes = converter.convert()
    return data


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, nargs="?", default=Path("artifacts/sudoku9.keras"))
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    main(given.model, given.count)
