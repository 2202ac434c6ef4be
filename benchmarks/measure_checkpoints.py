"""Measure the shipped checkpoints and write artifacts/manifest.json.

    python benchmarks/measure_checkpoints.py [--only maze9] [--count 2000] [--full 500]

For every difficulty: exact accuracy at the learned halting step, with n and its 95 % Wilson
interval, mean steps, and on the first `--full` puzzles what running all steps would have given.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from trm_export.checkpoints.loading import load_model
from trm_export.files import atomic_write, sha256_file
from trm_export.model import TRM
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import find_task
from trm_export.tasks.hard import LEVELS as GUESSES
from trm_export.tasks.hard import rate
from trm_export.training.recipe import RECIPES
from trm_export.training.validation import halting_point, trace
from trm_runtime import solve
from trm_runtime.parity.counts import wilson

ARTIFACTS = Path(__file__).resolve().parent.parent / "artifacts"
_SUDOKU9 = (30, 40, 45, 50, 55, "minimal", "hard")
LEVELS: dict[str, tuple[Any, ...]] = {
    "sudoku4": (None,),
    "sudoku9": _SUDOKU9,
    "sudoku9-hard": _SUDOKU9,
    "maze9": (None, 5, 10, 15),
    "maze11": (None, 10, 20),
}

MOST = {"sudoku4": None, "maze9": 1000}  # test puzzles; None is all; a 9x9 has few walls


def main() -> None:
    """Write the manifest of every checkpoint that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(LEVELS), help="leave the other entries as they are")
    parser.add_argument("--count", type=int, default=2000, help="puzzles a difficulty")
    parser.add_argument("--full", type=int, default=500, help="of these also run all steps")
    options = parser.parse_args()
    file = ARTIFACTS / "manifest.json"
    manifest = json.loads(file.read_text()) if options.only and file.exists() else {}
    names = [options.only] if options.only else LEVELS
    for name in names:
        if (ARTIFACTS / f"{name}.keras").exists():
            manifest[name] = measured(name, options.count, options.full)
    with atomic_write(file, force=True) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n")


def measured(name: str, count: int, full: int) -> dict[str, Any]:
    """The manifest's entry of one checkpoint."""
    path = ARTIFACTS / f"{name}.keras"
    model = load_model(path)
    return {
        "file": path.name,
        "sha256": sha256_file(path),
        "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "halt_threshold": model.config.halt_threshold,
        "halt_max_steps": model.halt_max_steps,
        **training_of(path),
        "accuracy": [level(model, name, blanks, count, full) for blanks in LEVELS[name]],
    }


def training_of(path: Path) -> dict[str, Any]:
    """The runs that made a checkpoint: those of the manifest, and one whose files lie beside it."""
    manifest = ARTIFACTS / "manifest.json"
    known = json.loads(manifest.read_text()).get(path.stem, {}) if manifest.exists() else {}
    runs = list(known.get("runs", []))
    recipe_file, log = path.with_suffix(".recipe.json"), path.with_suffix(".csv")
    if recipe_file.exists() and log.exists():
        recipe = json.loads(recipe_file.read_text())
        runs = runs if recipe["start"] else []
        runs += [{"command": command(path, recipe), "minutes": minutes(log), "recipe": recipe}]
    return {"runs": runs}


def command(path: Path, recipe: dict[str, Any]) -> str:
    """The command line of a run, with the options that its recipe does not have by itself."""
    name = nearest(recipe)
    usual = dataclasses.asdict(RECIPES[name])
    named = ("steps", "batch_size", "learning_rate", "ema", "loss", "ponder_cost", "seed")
    options = [f"--{n.replace('_', '-')} {recipe[n]}" for n in named if recipe[n] != usual[n]]
    if recipe["start"]:
        options.insert(0, "--from first.keras")
    target = f"-o artifacts/{path.name}"
    return " ".join(["trm-export train", name, target, *options])


def nearest(recipe: dict[str, Any]) -> str:
    """The name of the recipe for that task that differs from this one in the fewest fields."""

    def differing(name: str) -> int:
        usual = dataclasses.asdict(RECIPES[name])
        return sum(recipe.get(field, value) != value for field, value in usual.items())

    return min((name for name in RECIPES if RECIPES[name].task == recipe["task"]), key=differing)


def minutes(log: Path) -> float:
    """Minutes of a run and of those it resumed."""
    with log.open(newline="") as file:
        stamps = [float(row["minutes"]) for row in csv.DictReader(file)]
    ends = [one for one, after in zip(stamps, [*stamps[1:], 0.0], strict=True) if after < one]
    return round(sum(ends), 1)


def level(model: TRM, name: str, blanks: Any, count: int, full: int) -> dict[str, Any]:
    """Accuracy at one difficulty."""
    task = find_task(model.config)
    assert task is not None
    most = MOST.get(name, count)
    puzzles = task.puzzles("test", blanks, None if most is None else min(most, count))
    solution = solve(KerasRunner(model), puzzles.inputs, batch_size=256)
    exact = task.check(puzzles.inputs, solution.answers, puzzles.solutions).exact
    steps = np.asarray(solution.steps)
    some = dataclasses.replace(
        puzzles, inputs=puzzles.inputs[:full], labels=puzzles.solutions[:full]
    )
    point = halting_point(trace(model, some), model.config.halt_threshold)
    entry = {
        "blanks": ("all" if name == "sudoku4" else "default") if blanks is None else blanks,
        "n": len(puzzles),
        "exact": float(exact.mean()),
        "interval_95": wilson(int(exact.sum()), len(puzzles)),
        "mean_steps": float(steps.mean()),
        "mean_steps_solved": float(steps[exact].mean()) if exact.any() else None,
        "n_all_steps": len(some),
        "exact_halted": point.exact,
        "exact_all_steps": point.exact_all_steps,
    }
    if blanks == "minimal":
        clues = 81 - puzzles.blanks
        entry["by_clues"] = {
            int(c): {"n": int((clues == c).sum()), "exact": float(exact[clues == c].mean())}
            for c in np.unique(clues)
        }
    if blanks == "hard":
        guesses = rate(puzzles.inputs)
        levels = {least: (guesses >= least) & (guesses <= most) for least, most in GUESSES}
        entry["by_least_guesses"] = {
            least: {"n": int(rows.sum()), "exact": float(exact[rows].mean())}
            for least, rows in levels.items()
        }
    print(json.dumps(entry), flush=True)
    return entry


if __name__ == "__main__":
    main()
