"""`trm-export train TASK`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.options import AsJson, Force

if TYPE_CHECKING:
    from trm_export.training.recipe import Recipe
    from trm_export.training.run import TrainResult

WORTH_TELLING = 0.1  # exact in training, from which an average of less than half of it lags

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The .keras file to write; its folder is made if there is none. "
        "artifacts/TASK.keras if not given.",
    ),
]  # fmt: skip
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run beside -o after a kill or Ctrl-C, by its own recipe; "
        "no other option is needed.",
    ),
]  # fmt: skip
Until = Annotated[
    str | None,
    typer.Option(
        help="Stop in time for 09:15, or 2026-01-31T09:15, with all that --resume needs saved."
    ),
]  # fmt: skip
Ema = Annotated[
    float | None,
    typer.Option(
        help="Momentum of the average of the weights, which is what is saved; it looks back about "
        "1 / (1 - ema) steps, so a short run wants a lower one."
    ),
]


def train(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK|PRESET",
            help="sudoku4, sudoku9, sudoku9-hard, maze9 or maze11; for a GPU maze30, arc1, "
            "arc2, or one of the paper's configurations: paper-sudoku-mlp, paper-sudoku-att, "
            "paper-maze, paper-arc.",
        ),
    ],
    output: Output = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Begin with the weights of this .keras file.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, one ACT step each.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Puzzles in the carry at a time.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    ema: Ema = None,
    loss: Annotated[str | None, typer.Option(help="stablemax or softmax.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, or mixed_bfloat16 to compute in bfloat16.")
    ] = None,
    ponder_cost: Annotated[float | None, typer.Option(help="Cost of a further step.")] = None,
    act_steps: Annotated[
        int | None, typer.Option(help="ACT steps of a training puzzle, at most; 0 for all.")
    ] = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option(help="Steps of an epoch, after which the log and a backup follow.")
    ] = None,
    validate_every: Annotated[int | None, typer.Option(help="Epochs between validations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, puzzles and exploration.")] = None,
    until: Until = None,
    resume: Resume = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train a TRM; log (.csv), learning curve (.png) and recipe (.json) land beside the model.

    Ctrl-C saves what there is and ends with exit code 130.
    """
    import signal
    import sys

    from trm_export.api.frameworks import load_keras
    from trm_export.commands.support.console import emit
    from trm_export.commands.support.exits import StoppedError
    from trm_export.training.recipe import recipe_for, with_changes
    from trm_export.training.run_files import RunFiles
    from trm_export.training.until import parse_time

    changes = {
        "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "ema": ema,
        "loss": loss, "dtype": dtype, "ponder_cost": ponder_cost, "act_steps": act_steps,
        "steps_per_epoch": steps_per_epoch, "validate_every": validate_every, "seed": seed,
    }  # fmt: skip
    recipe = recipe_for(task, **changes)
    end = None if until is None else parse_time(until)
    target = output or Path("artifacts") / f"{task}.keras"
    files = RunFiles(target)
    files.check(start=start, resume=resume, force=force)
    if resume:
        asked, recipe = recipe, files.recorded()
        same = {"task": asked.task, "preset": asked.preset}
        files.refuse_changes(with_changes(recipe, **same, **changes))
    load_keras(any_backend=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` is as good as Ctrl-C
    from trm_export.training.run import train as run

    shown = 0 if as_json else 1 if sys.stdout.isatty() else 2
    result = run(recipe, target, start=start, resume=resume, force=force, verbose=shown, until=end)
    if as_json:
        emit({"recipe": recipe, **vars(result)})
    else:
        _say(result, recipe, task)
    if result.interrupted:
        raise StoppedError


def _say(result: TrainResult, recipe: Recipe, name: str) -> None:
    from trm_export.commands.support.console import remark

    remark(_end(result, recipe, name))
    point = result.validation
    remark(
        f"Validation: {point.exact:.1%} exact in {point.mean_steps:.1f} steps on average "
        f"(all steps: {point.exact_all_steps:.1%}); halt threshold {point.threshold:g}."
    )
    learned = result.training_exact or 0.0
    if learned > max(WORTH_TELLING, 2 * point.exact_all_steps):
        remark(
            f"Training ended at {learned:.1%} exact. What is saved is the average of "
            f"the weights over about {1 / (1 - recipe.ema):.0f} steps, which has not caught up: "
            "train longer, or give a lower --ema."
        )
    for path in result.files:
        print(path)


def _end(result: TrainResult, recipe: Recipe, name: str) -> str:
    import shlex

    if not result.interrupted and result.epochs == recipe.epochs:
        return "Training is complete."
    said = f"{'Interrupted' if result.interrupted else 'Stopped in time'}; the model was saved."
    if not result.epochs:
        return said
    again = f"trm-export train {name} -o {shlex.quote(str(result.model))} --resume"
    return f"{said} Go on after epoch {result.epochs} of {recipe.epochs} with: {again}"
