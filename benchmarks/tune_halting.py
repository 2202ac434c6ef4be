"""Tune a checkpoint's halting threshold on validation puzzles of several difficulties.

    python benchmarks/tune_halting.py artifacts/sudoku9.keras sudoku9 --blanks 40 50

Prints the curve of accuracy against mean steps and rewrites the checkpoint with the threshold that
needs the fewest steps and loses at most `--allowed-loss` against running all steps.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from trm_export.checkpoints.loading import load_model
from trm_export.files import atomic_write
from trm_export.halting.curve import Trace
from trm_export.model import TRM
from trm_export.tasks import get_task
from trm_export.training.validation import halting_point, trace, tune_threshold


def main() -> None:
    """Tune and rewrite one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("task")
    parser.add_argument(
        "--blanks", type=blanks_of, nargs="+", help="numbers, minimal or hard; the task's own range"
    )
    parser.add_argument("--count", type=int, default=256, help="puzzles a difficulty")
    parser.add_argument("--allowed-loss", type=float, default=0.002)
    options = parser.parse_args()
    model = load_model(options.checkpoint)
    task = get_task(options.task)
    sets = [
        task.puzzles("validation", blanks, options.count) for blanks in options.blanks or [None]
    ]
    traces = [trace(model, puzzles) for puzzles in sets]
    traced = Trace(
        np.concatenate([one.scores for one in traces], axis=1),
        np.concatenate([one.exact for one in traces], axis=1),
    )
    for threshold in range(-6, 9):
        print(halting_point(traced, float(threshold)))
    best = tune_threshold(traced, allowed_loss=options.allowed_loss)
    print("chosen:", best)
    tuned = TRM.from_config({**model.get_config(), "halt_threshold": best.threshold})
    tuned.set_weights(model.get_weights())
    with atomic_write(options.checkpoint) as temporary:
        tuned.save(temporary)


def blanks_of(text: str) -> Any:
    """A number of blanks, or a word that the task knows."""
    return int(text) if text.isdecimal() else text


if __name__ == "__main__":
    main()
