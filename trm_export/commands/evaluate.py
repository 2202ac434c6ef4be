"""`trm-export evaluate MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trm_export.commands.support.model_options import (
    HaltRule,
    HaltThreshold,
    Identifiers,
    MaxSteps,
    ModelOptions,
    SeqLen,
    TaskName,
    TrustModule,
)
from trm_export.commands.support.options import AsJson
from trm_export.commands.support.puzzle_options import BlanksOption, chosen_puzzles, refuse_words

if TYPE_CHECKING:
    from trm_export.tasks import ArcTask, PuzzleSet, Task
    from trm_runtime.runner import StepRunner

Model = Annotated[Path, typer.Argument(help="A .keras file or an exported one.")]
PuzzleFile = Annotated[
    Path | None,
    typer.Option(
        "--puzzles", help="Puzzles of your own: CSV, lines, .npz or folder; or the word hard, for "
        "9x9 Sudokus that need guesses."
    ),
]  # fmt: skip
HARD = "hard"
Count = Annotated[int, typer.Option(min=1, help="How many puzzles, or ARC problems, at most.")]
Vote = Annotated[
    int | None,
    typer.Option(min=1, help="ARC: ask in so many symmetries and let the answers vote."),
]
Show = Annotated[int, typer.Option(min=0, help="Draw so many boards with their answers.")]


def evaluate(
    model: Model,
    task: TaskName = None,
    puzzles: PuzzleFile = None,
    blanks: BlanksOption = None,
    count: Count = 200,
    vote: Vote = None,
    show: Show = 0,
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    halt_threshold: HaltThreshold = None,
    identifiers: Identifiers = None,
    as_json: AsJson = False,
) -> None:
    """Count how many unseen puzzles a model or an exported file answers, and draw some."""
    from trm_export.commands.support.console import emit, show_table
    from trm_export.errors import UsageError
    from trm_export.tasks import ArcTask, find_task, get_task

    if vote is not None and (puzzles is not None or blanks is not None):
        raise UsageError("--vote asks for all of a problem; leave --puzzles and --blanks out.")
    if puzzles == Path(HARD) and blanks is None and not puzzles.exists():
        puzzles, blanks = None, HARD
    refuse_words(puzzles, task, blanks)
    said = ModelOptions(
        trust_module, seq_len, max_steps, halt_rule, identifiers, task, halt_threshold
    )
    runner = _runner(model, said)
    found = find_task(runner.contract) if task is None else get_task(task)
    if found is None:
        raise UsageError("No task fits this model; name one with --task.")
    if vote is None:
        chosen = chosen_puzzles(runner.contract, puzzles, found.name, blanks, count)
        rows, boards = _plain(runner, found, chosen, show)
    elif isinstance(found, ArcTask):
        rows, boards = _voted(runner, found, vote, count, show)
    else:
        raise UsageError(f"--vote is for ARC: {found.name} has no copies of its puzzles.")
    if as_json:
        emit({"model": model, "task": found.name, **rows})
        return
    show_table(f"{model.name} on {found.name}", [(k, _text(k, v)) for k, v in rows.items()])
    _draw(found, boards)


def _runner(model: Path, said: ModelOptions) -> StepRunner:
    """A .keras file of which that is said, or an exported one, which says all itself."""
    if model.suffix != ".keras":
        from trm_runtime.open import open_runner

        return open_runner(model)
    from trm_export.api.frameworks import load_keras
    from trm_export.checkpoints.keras_file import require_keras
    from trm_export.commands.support.model_options import opened

    require_keras(model)
    load_keras(any_backend=True)
    from trm_export.step.keras_runner import KerasRunner

    return KerasRunner(opened(model, said))


def _plain(
    runner: StepRunner, task: Task, puzzles: PuzzleSet, show: int
) -> tuple[dict[str, Any], list[Any]]:
    """What to say, and (input, answer, title) of boards."""
    from trm_export.commands.support.console import progress
    from trm_runtime import solve
    from trm_runtime.parity.counts import wilson

    done = 0
    with progress("Solving", len(puzzles)) as advance:

        def count_up(event: Any) -> None:
            nonlocal done
            done += int(event.finished.sum())
            advance(done)

        feeds = puzzles.feeds(runner.contract.num_puzzle_identifiers)
        solution = solve(runner, feeds, on_step=count_up)
    checks = task.check(puzzles.inputs, solution.answers, puzzles.solutions)
    hits, n = int(checks.exact.sum()), len(puzzles)
    rows = {
        "puzzles": n,
        "exact": hits / n,
        "interval_95": wilson(hits, n),
        "valid": float(checks.valid.mean()),
        "cells": float(checks.cell_accuracy.mean()),
        "mean_steps": float(solution.steps.mean()),
    }
    verdicts = zip(checks.exact.tolist(), solution.steps.tolist(), strict=True)
    titles = [
        f"{'right' if right else 'wrong'}, {steps} step{'s' * (steps > 1)}"
        for right, steps in verdicts
    ]
    return rows, list(zip(puzzles.inputs, solution.answers, titles, strict=True))[:show]


def _voted(
    runner: StepRunner, task: ArcTask, copies: int, count: int, show: int
) -> tuple[dict[str, Any], list[Any]]:
    from trm_export.tasks.arc_grids import encode
    from trm_export.tasks.voting import evaluate_arc

    problems = [i for i, problem in enumerate(task.problems) if not problem.training][:count]
    score = evaluate_arc(runner, task, problems, copies=copies)
    rows = {
        "problems": len(problems),
        "grids": len(score.asked),
        "copies": copies,
        "exact_one_attempt": score.exact(1),
        "exact_two_attempts": score.exact(2),
        "problems_two_attempts": score.problems_solved(2),
        "mean_steps": score.mean_steps,
    }
    boards = [
        (encode(one.right), encode(first.grid), f"{one.problem}: {first.votes} votes")
        for one in score.asked
        for first in one.candidates[:1]
    ]
    return rows, boards[:show]


def _draw(task: Task, boards: list[Any]) -> None:
    from rich.text import Text

    from trm_export.commands.support.console import stdout
    from trm_export.commands.support.terminal_boards import board_text

    for inputs, answer, title in boards:
        stdout().print(Text(f"\n{title}"))
        stdout().print(board_text(task, inputs, answer, inputs), soft_wrap=False)


def _text(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{part:.2%}" for part in value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if name == "mean_steps" else f"{value:.2%}"
