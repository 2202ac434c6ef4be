"""`trm-export parity MODEL ARTIFACT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trm_export.commands.models import (
    HaltRule,
    Identifiers,
    MaxSteps,
    Said,
    SeqLen,
    TaskName,
    TrustModule,
    opened,
)
from trm_export.commands.options import AsJson, Force

if TYPE_CHECKING:
    from trm_export.tasks import Blanks, PuzzleSet, Task
    from trm_runtime.contract import StepContract
    from trm_runtime.parity import ParityResult
    from trm_runtime.runner import StepRunner

ModelFile = Annotated[Path, typer.Argument(help="The .keras file: what is true.")]
Artifact = Annotated[Path, typer.Argument(help="The exported file to judge.")]
PuzzleFile = Annotated[
    Path | None, typer.Option("--puzzles", help="Puzzles of your own: CSV, lines, .npz or folder.")
]
BlanksOption = Annotated[
    str | None,
    typer.Option(
        help="Blanks of the shipped puzzles: a number, or minimal; in a maze the path cells."
    ),
]
Count = Annotated[int, typer.Option(min=1, help="How many puzzles, at most.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows a step, where the files allow any.")]
Report = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the JSON document to this file.")
]


def parity(
    model: ModelFile,
    artifact: Artifact,
    puzzles: PuzzleFile = None,
    task: TaskName = None,
    blanks: BlanksOption = None,
    count: Count = 200,
    batch_size: BatchSize = 64,
    report: Report = None,
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    identifiers: Identifiers = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Judge whether an exported file still thinks the same thoughts as its model.

    Exit code 5 when it does not; the first thing that went wrong is named.
    """
    from trm_export.commands.console import emit
    from trm_export.commands.parity_tables import show_result
    from trm_export.errors import ParityError
    from trm_export.files import refuse_overwrite, require_suffix
    from trm_export.keras_file import require_keras
    from trm_runtime.open import open_runner

    if report is not None:
        require_suffix(report, ".json")
        refuse_overwrite(report, force=force)
    require_keras(model)
    candidate = open_runner(artifact)
    chosen = _puzzles(candidate.contract, puzzles, task, blanks, count)
    said = Said(trust_module, seq_len, max_steps, halt_rule, identifiers)
    result = _compared(model, said, candidate, chosen, batch_size)
    if report is not None:
        _write(result, report, force=force)
    if as_json:
        emit(_document(result))
    else:
        show_result(result, str(model), str(artifact))
    if not result:
        raise typer.Exit(ParityError.exit_code)


def _compared(
    model: Path, said: Said, candidate: StepRunner, puzzles: PuzzleSet, batch_size: int
) -> ParityResult:
    from trm_export.commands.console import progress
    from trm_export.commands.frameworks import load_keras

    load_keras(any_backend=True)
    from trm_export.reference import KerasRunner
    from trm_runtime.parity import compare

    reference = KerasRunner(opened(model, said, candidate.contract))
    with progress("Comparing", 1.0) as advance:
        return compare(
            reference,
            candidate,
            puzzles,
            batch_size=batch_size,
            progress=lambda done, total: advance(done / total),
        )


def _puzzles(
    contract: StepContract, file: Path | None, name: str | None, blanks: str | None, count: int
) -> PuzzleSet:
    from trm_export.errors import UsageError
    from trm_export.tasks import find_task, get_task, random_rows, read_puzzles

    task = find_task(contract) if name is None else get_task(name)
    if file is not None:
        if blanks is not None:
            raise UsageError("--blanks is for the shipped puzzles; leave it out with --puzzles.")
        return read_puzzles(file, task, split="test" if file.is_dir() else None, limit=count)
    if task is None and blanks is not None:
        raise UsageError("No shipped puzzles fit this model; leave --blanks out.")
    if task is None:
        return random_rows(contract.vocab_size, contract.seq_len, count)
    return shipped_puzzles(task, blanks, count)


def shipped_puzzles(task: Task, blanks: str | None, count: int) -> PuzzleSet:
    """Test puzzles with these blanks; without a wish a mix from easy to hard."""
    import numpy as np

    from trm_export.tasks import PuzzleSet

    if blanks is not None:
        return task.puzzles("test", _blanks(blanks), count)
    shares = [len(part) for part in np.array_split(np.arange(count), len(task.levels))]
    sets = [task.puzzles("test", b, n) for b, n in zip(task.levels, shares, strict=True) if n]
    if len(sets) == 1:
        return sets[0]
    return PuzzleSet(
        np.concatenate([part.inputs for part in sets]),
        np.concatenate([part.solutions for part in sets]),
        np.concatenate([part.blanks for part in sets]),
    )


def _blanks(text: str) -> Blanks:
    from trm_export.errors import UsageError

    if text == "minimal":
        return "minimal"
    if not text.isdecimal():
        raise UsageError(f"--blanks {text}: expected a number of blanks, or minimal.")
    return int(text)


def _document(result: ParityResult) -> dict[str, Any]:
    from trm_export import TOOL, __version__

    return {**result.to_json(), "tool": f"{TOOL} {__version__}"}


def _write(result: ParityResult, path: Path, *, force: bool) -> None:
    import json

    from trm_export.commands.console import json_ready
    from trm_export.files import atomic_write

    text = json.dumps(json_ready(_document(result)), allow_nan=False)
    with atomic_write(path, force=force) as new:
        new.write_text(text + "\n")
