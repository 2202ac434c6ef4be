"""`trm-export train TASK`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.options import AsJson, Force, Output


def train(
    task: Annotated[str, typer.Argument(help="What to train on: sudoku4 or sudoku9.")],
    output: Output = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Begin with the weights of this .keras file.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, one ACT step each.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Puzzles in the carry at a time.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    loss: Annotated[str | None, typer.Option(help="stablemax or softmax.")] = None,
    ponder_cost: Annotated[float | None, typer.Option(help="Cost of a further step.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Epochs between validations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, puzzles and exploration.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after a kill.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train a TRM; log (.csv), learning curve (.png) and recipe (.json) land beside the model."""
    import sys

    from trm_export.commands.console import emit, remark
    from trm_export.commands.frameworks import load_keras
    from trm_export.training.recipe import recipe_for

    recipe = recipe_for(
        task, steps=steps, batch_size=batch_size, learning_rate=learning_rate, loss=loss,
        ponder_cost=ponder_cost, validate_every=validate_every, seed=seed,
    )  # fmt: skip
    load_keras(any_backend=True)
    from trm_export.training.run import train as run

    shown = 0 if as_json else 1 if sys.stdout.isatty() else 2
    target = output or Path("artifacts") / f"{task}.keras"
    result = run(recipe, target, start=start, resume=resume, force=force, verbose=shown)
    if as_json:
        emit({"recipe": recipe, **vars(result)})
        return
    point = result.validation
    remark("Interrupted; the model was saved." if result.interrupted else "Training is complete.")
    remark(
        f"Validation: {point.exact:.1%} exact in {point.mean_steps:.1f} steps on average "
        f"(all steps: {point.exact_all_steps:.1%}); halt threshold {point.threshold:g}."
    )
    for path in (result.model, result.log, result.curve):
        print(path)
