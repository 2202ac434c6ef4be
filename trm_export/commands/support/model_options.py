"""What every command that loads a model shares: the options that speak of it, and the loading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trm_export.step.step_model import StepModel
    from trm_runtime.contract import StepContract


def _require_modules(names: list[str] | None) -> list[str] | None:
    """UsageError for a module that does not exist, before any of its code runs."""
    from trm_export.checkpoints.keras_classes import require_modules

    require_modules(names or ())
    return names


TrustModule = Annotated[
    list[str] | None,
    typer.Option(
        help="Package of the model's class, whose code may run; give it once for each package.",
        callback=_require_modules,
    ),
]
SeqLen = Annotated[
    int | None, typer.Option(help="Tokens of a puzzle, where the model does not say it.")
]
MaxSteps = Annotated[
    int | None, typer.Option(help="Steps after which a row halts, where the model does not say it.")
]
HaltRule = Annotated[
    str | None, typer.Option(help="Score that halts a row: q_halt or q_halt_minus_q_continue.")
]
HaltThreshold = Annotated[
    float | None,
    typer.Option(help="What that score must exceed; the model's own if not given."),
]
Identifiers = Annotated[
    int | None,
    typer.Option("--puzzle-identifiers", help="How many there are, if the model does not say it."),
]
TaskName = Annotated[
    str | None, typer.Option("--task", help="Task whose tokens it knows, such as maze9.")
]


@dataclass(frozen=True)
class ModelOptions:
    """What the command line says of a model."""

    trusted: Sequence[str] | None = None
    seq_len: int | None = None
    max_steps: int | None = None
    halt_rule: str | None = None
    identifiers: int | None = None
    task: str | None = None
    halt_threshold: float | None = None


def opened(model: Path, said: ModelOptions, assumed: StepContract | None = None) -> StepModel:
    """The model of a `.keras` file; Keras must be up. What it cannot tell apart is remarked on.

    `assumed` is the contract of an export, which answers what neither model nor person says.
    """
    from trm_export.checkpoints.opening import open_model
    from trm_export.commands.support.console import remark
    from trm_export.step.model_facts import ModelHints

    found = open_model(
        model,
        said.trusted or (),
        ModelHints(
            seq_len=said.seq_len,
            max_steps=said.max_steps,
            halt_rule=said.halt_rule,
            halt_threshold=said.halt_threshold,
            num_puzzle_identifiers=said.identifiers,
            task=said.task,
            assumed=assumed,
        ),
    )
    if found.left_out:
        names = ", ".join(found.left_out)
        remark(
            f"Outputs without rows are left out, because no step contract can hold them: {names}"
        )
    return found
