"""`trm-export train TASK`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import INPUT, OUTPUT, RUN, AsJson, Force

if TYPE_CHECKING:
    from trm_export import TrainResult

WORTH_TELLING = 0.1  # exact in training, from which an average of less than half of it lags
SECONDS_TO_STOP = 60  # in which a step ends and is backed up, before the process is killed


@dataclass(frozen=True)
class RecipeOptions:
    """What is to differ from the recipe of the task."""

    panel: ClassVar[str] = "Recipe"

    steps: Annotated[int | None, typer.Option(help="Optimizer steps, one ACT step each.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Puzzles in the carry at a time.")] = None
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None
    ema: Annotated[
        float | None,
        typer.Option(
            help="Momentum of the average of the weights, which is what is saved; it looks back "
            "about 1 / (1 - ema) steps, so a short run wants a lower one."
        ),
    ] = None
    loss: Annotated[str | None, typer.Option(help="stablemax or softmax.")] = None
    dtype: Annotated[
        str | None, typer.Option(help="float32, or mixed_bfloat16 to compute in bfloat16.")
    ] = None
    ponder_cost: Annotated[float | None, typer.Option(help="Cost of a further step.")] = None
    act_steps: Annotated[
        int | None, typer.Option(help="ACT steps of a training puzzle, at most; 0 for all.")
    ] = None
    steps_per_epoch: Annotated[
        int | None, typer.Option(help="Steps of an epoch, after which the log and a backup follow.")
    ] = None
    validate_every: Annotated[int | None, typer.Option(help="Epochs between validations.")] = None
    seed: Annotated[int | None, typer.Option(help="Of weights, puzzles and exploration.")] = None


_Task = Annotated[
    str,
    typer.Argument(
        metavar="TASK|PRESET",
        help="sudoku4, sudoku9, sudoku9-hard, maze9 or maze11; for a GPU maze30, arc1, arc2, or "
        "one of the paper's configurations: paper-sudoku-mlp, paper-sudoku-att, paper-maze, "
        "paper-arc.",
    ),
]
_From = Annotated[
    Path | None,
    typer.Option(
        "--from", help="Begin with the weights of this .keras file.", rich_help_panel=INPUT
    ),
]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with the run beside -o after a kill or Ctrl-C, by its own recipe; no other "
        "option is needed.",
        rich_help_panel=RUN,
    ),
]
_Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Stop in time for 09:15, or 2026-01-31T09:15, with all that --resume needs saved.",
        rich_help_panel=RUN,
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The .keras file to write; a missing folder is created. Default: "
        "artifacts/TASK.keras.",
        rich_help_panel=OUTPUT,
    ),
]


@examples(
    "trm-export train sudoku4 -o sudoku4.keras",
    "trm-export train sudoku4 -o sudoku4.keras --resume",
)
def train(
    task: _Task,
    *,
    start: _From = None,
    recipe: RecipeOptions,
    resume: _Resume = False,
    until: _Until = None,
    output: _Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train a TRM; log (.csv), learning curve (.png) and recipe (.json) land beside the model.

    Ctrl-C backs up at that step, for --resume, and ends with exit code 130; a second one at once.
    """
    import sys

    import trm_export
    from trm_export.commands.support import interruption
    from trm_export.commands.support.console import emit
    from trm_export.commands.support.exits import StoppedError

    shown = 0 if as_json else 1 if sys.stdout.isatty() else 2
    stop = trm_export.StopRequest()

    def heard() -> bool:
        asked = stop.is_asked
        if not asked and stop.ask() and not as_json:
            interruption.say("Backing up after this step; press Ctrl-C again to end without it.")
        return stop.is_asked

    with interruption.postponed(heard, SECONDS_TO_STOP):
        result = trm_export.train(
            task,
            output,
            start=start,
            resume=resume,
            force=force,
            verbose=shown,
            until=until,
            stop=stop,
            **vars(recipe),
        )
    if as_json:
        emit(result.to_json())
    else:
        _say(result, task)
    if result.interrupted:
        raise StoppedError


def _say(result: TrainResult, name: str) -> None:
    from trm_export.commands.support.console import remark

    remark(_end(result, name))
    remark(result.summary)
    learned, recipe = result.training_exact or 0.0, result.recipe
    point = result.validation
    if recipe and point and learned > max(WORTH_TELLING, 2 * point.exact_all_steps):
        remark(
            f"Training ended at {learned:.1%} exact. What is saved is the average of "
            f"the weights over about {1 / (1 - recipe.ema):.0f} steps, which has not caught up: "
            "train longer, or give a lower --ema."
        )
    for path in result.files:
        print(path)


def _end(result: TrainResult, name: str) -> str:
    import shlex

    ended = result.recipe is not None and result.epochs == result.recipe.epochs
    if ended and not result.interrupted:
        return "Training is complete."
    saved = f"{'Interrupted' if result.interrupted else 'Stopped in time'}; the run is backed up."
    if not result.recipe:
        return saved
    again = f"trm-export train {name} -o {shlex.quote(str(result.model))} --resume"
    return f"{saved} Go on after epoch {result.epochs} of {result.recipe.epochs} with: {again}"
