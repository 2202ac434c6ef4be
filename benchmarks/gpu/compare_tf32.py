"""What TF32 changes in a model's answers: `KERAS_BACKEND=torch python compare_tf32.py MODEL`.

Runs the shipped test puzzles twice, in exact float32 and with products in TF32, which only a GPU
has: elsewhere both runs are the same. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.checkpoints.loading import load_model
from trm_export.step.devices import computing_on
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import find_task
from trm_runtime import solve


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="puzzles")
    options = parser.parse_args()
    print(json.dumps(compared(options.model, options.count), indent=2))


def compared(path: Path, count: int) -> dict[str, Any]:
    """Share of equal answers and halting steps, and the accuracy of both runs."""
    import torch

    with computing_on("auto") as where:
        runner = KerasRunner(load_model(path))
        task = find_task(runner.contract)
        if task is None:
            raise SystemExit(f"{path} fits no task.")
        puzzles = task.puzzles("test", None, count)
        exact = solve(runner, puzzles.inputs, batch_size=256)
        torch.backends.cuda.matmul.allow_tf32 = True
        rough = solve(runner, puzzles.inputs, batch_size=256)
        torch.backends.cuda.matmul.allow_tf32 = False
    return {
        "device": where.document(),
        "puzzles": len(puzzles),
        "answers_equal": float((exact.answers == rough.answers).all(axis=1).mean()),
        "steps_equal": float(np.mean(exact.steps == rough.steps)),
        "exact_float32": float(puzzles.exact(exact.answers).mean()),
        "exact_tf32": float(puzzles.exact(rough.answers).mean()),
    }


if __name__ == "__main__":
    main()
