"""`trm-export train TASK`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import INPUT, OUTPUT, RUN, AsJson, Force

if TYPE_CHECKING:
    from trm_export import TrainResult

LONGER = 10  # times the steps of a run after which the model solves nothing
LOWER = 10  # the learning rate is divided by, after a run that diverged
LAGGING = 0.1  # exact share in training above which the average may lag behind
SECONDS_TO_STOP = 60  # in which a step ends and is backed up, before the process is killed


@dataclass(frozen=True)
class RecipeOptions:
    """Changes to the recipe of the task."""

    panel: ClassVar[str] = "Recipe"

    steps: Annotated[int | None, typer.Option(help="Optimizer steps, one ACT step each.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Puzzles in the carry.")] = None
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None
    ema: Annotated[
        float | None,
        typer.Option(
            help="Momentum of the average of the weights, which is saved; it covers about "
            "1 / (1 - ema) steps, so a short run needs a lower one."
        ),
    ] = None
    loss: Annotated[str | None, typer.Option(help="stablemax or softmax.")] = None
    dtype: Annotated[
        str | None, typer.Option(help="float32, or mixed_bfloat16 to compute in bfloat16.")
    ] = None
    ponder_cost: Annotated[float | None, typer.Option(help="Cost of one more step.")] = None
    act_steps: Annotated[
        int | None, typer.Option(help="Maximum ACT steps of a training puzzle; 0 for all.")
    ] = None
    steps_per_epoch: Annotated[
        int | None, typer.Option(help="Steps of an epoch, after which log and backup are written.")
    ] = None
    validate_every: Annotated[int | None, typer.Option(help="Epochs between validations.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of weights, puzzles and exploration.")] = (
        None
    )


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
        "--from", help="Start with the weights of this .keras file.", rich_help_panel=INPUT
    ),
]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Resume the run beside -o after a kill or Ctrl-C, with its own recipe; no other "
        "option is needed.",
        rich_help_panel=RUN,
    ),
]
_Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Stop before this time, such as 09:15 or 2026-01-31T09:15, with everything saved "
        "that --resume needs.",
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
    """Train a TRM; log (.csv), learning curve (.png) and recipe (.json) are beside the model.

    Ctrl-C backs up after the current step, for --resume, and ends with exit code 130; a second
    Ctrl-C ends without a backup.
    """
    import trm_export
    from trm_export.commands.support import interruption
    from trm_export.commands.support.console import emit, progress
    from trm_export.commands.support.exits import StoppedError

    stop, reasons = trm_export.StopRequest(), ["Interrupted."]

    def heard(reason: str) -> bool:
        if not stop.ask():
            return False
        reasons[:] = [reason]
        interruption.if_killed(SECONDS_TO_STOP, stop.kept)
        if not as_json:
            interruption.say(
                f"Backing up after this step, until {_latest()} at the latest; a second "
                f"{'Ctrl-C' if reason == 'Interrupted.' else 'signal'} ends the run without it."
            )
        return True

    given = {"from": start, **vars(recipe), "output": output}
    with (
        interruption.postponed(heard, SECONDS_TO_STOP),
        _with_cure(task, given),
        progress(lines=not as_json) as advance,
    ):
        result = trm_export.train(
            task,
            output,
            start=start,
            resume=resume,
            force=force,
            until=until,
            stop=stop,
            progress=advance,
            **vars(recipe),
        )
    if as_json:
        emit(result.to_json())
    else:
        _print(result, task, reasons[0], given)
    if result.interrupted:
        raise StoppedError


def _latest() -> str:
    """The time of day at which the patience of a run that is asked to stop is over."""
    import time

    return time.strftime("%H:%M:%S", time.localtime(time.time() + SECONDS_TO_STOP))


@contextmanager
def _with_cure(name: str, given: Mapping[str, Any]) -> Iterator[None]:
    """A DivergedError of the block gets the same command with a lower learning rate as a note."""
    from trm_export.commands.support.command_line import command
    from trm_export.errors import DivergedError

    try:
        yield
    except DivergedError as error:
        lower = {"learning_rate": error.learning_rate / LOWER, "force": error.epoch > 1}
        error.add_note(f"Try: {command('train', name, **{**given, **lower})}")
        raise


def _print(result: TrainResult, name: str, reason: str, given: Mapping[str, Any]) -> None:
    from trm_export.commands.support.console import remark

    remark(_end(result, name, reason))
    remark(result.summary)
    learned, recipe = result.training_exact or 0.0, result.recipe
    point = result.validation
    if recipe and point and learned > max(LAGGING, 2 * point.exact_all_steps):
        remark(
            f"Training ended at {learned:.1%} exact. The saved weights are an average over about "
            f"{1 / (1 - recipe.ema):.0f} steps, which is still worse: train longer, or use a "
            "lower --ema."
        )
    if result.no_curve:
        remark(result.no_curve)
    for path in result.files:
        print(path)
    _next(result, name, given)


def _next(result: TrainResult, name: str, given: Mapping[str, Any]) -> None:
    """The command for a finished run: export, or train again for longer."""
    from trm_export.api.training import changes_of
    from trm_export.commands.support.command_line import command
    from trm_export.commands.support.console import remark

    point, recipe = result.validation, result.recipe
    if not result.complete or recipe is None or point is None:
        return
    if point.exact_all_steps:
        remark(f"Next: {command('onnx', result.model)}")
    else:
        changes = {key: value for key, value in changes_of(name, result).items() if key in given}
        longer = {**given, **changes, "output": result.model, "steps": LONGER * recipe.steps}
        remark(f"Try: {command('train', name, **longer)}")


def _end(result: TrainResult, name: str, signal: str) -> str:
    from trm_export.commands.support.command_line import command

    if result.complete:
        return "Training is complete."
    reason = signal.rstrip(".") if result.interrupted else "Stopped before the time"
    saved = f"{reason}; the run is backed up."
    if not result.recipe:
        return saved
    again = command("train", name, output=result.model, resume=True)
    return f"{saved} Resume after epoch {result.epochs} of {result.recipe.epochs} with: {again}"
