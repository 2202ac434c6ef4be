"""`trm-export tune ARTIFACT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trm_export.commands.support.model_options import TaskName
from trm_export.commands.support.options import AsJson, Force
from trm_export.commands.support.puzzle_options import BlanksOption, refuse_words

if TYPE_CHECKING:
    from trm_export.halting.curve import Trace
    from trm_export.halting.tuning import Tuning
    from trm_export.tasks import PuzzleSet
    from trm_runtime.contract import StepContract

Artifact = Annotated[Path, typer.Argument(help="The exported file; of granularity step or block.")]
PuzzleFile = Annotated[
    Path | None,
    typer.Option(
        "--puzzles",
        help="Puzzles of your own with their solutions, none of a test; of a data-set "
        "folder its validation split.",
    ),
]
Count = Annotated[int, typer.Option(min=1, help="How many validation puzzles.")]
Lose = Annotated[
    float,
    typer.Option(min=0, max=100, help="Points of exact accuracy that fewer steps may cost."),
]
Target = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the tuned file here and leave the other as it is."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the curve and write nothing.")]


def tune(
    artifact: Artifact,
    puzzles: PuzzleFile = None,
    task: TaskName = None,
    blanks: BlanksOption = None,
    count: Count = 400,
    lose: Lose = 0.25,
    output: Target = None,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Choose the halting threshold of an exported file anew, by accuracy against mean steps.

    The file runs on validation puzzles; what is chosen goes into its contract. Needs no Keras.
    """
    from trm_export.artifacts.contract_rewrite import embedded_contract, refuse_rewrite, rewrite
    from trm_export.commands.support.console import emit
    from trm_export.commands.support.tune_tables import show_tuning
    from trm_export.files import sidecar
    from trm_export.halting.tuning import refuse_loop
    from trm_export.halting.tuning import tune as tuned

    refuse_words(puzzles, task, blanks)
    target = output or artifact
    contract = embedded_contract(artifact)
    refuse_loop(contract, str(artifact))
    if not dry_run:
        refuse_rewrite(artifact, target, force=force)
    chosen = _puzzles(contract, puzzles, task, blanks, count)
    found = tuned(contract.halt, _trace(artifact, chosen), lose / 100)
    written = not dry_run and (found.changes or output is not None)
    if written:
        rewrite(artifact, _with_threshold(contract, found), target, force=force)
    if as_json:
        emit(_document(artifact, contract, found, target if written else None))
        return
    show_tuning(found, artifact.name)
    _say(found, contract, dry_run)
    if written:
        print(target)
        print(sidecar(target))


def _puzzles(
    contract: StepContract, file: Path | None, name: str | None, blanks: str | None, count: int
) -> PuzzleSet:
    """Puzzles with solutions, of the validation split of a folder or of the shipped ones."""
    from trm_export.commands.support.puzzle_options import chosen_puzzles
    from trm_export.errors import UsageError

    found = chosen_puzzles(contract, file, name, blanks, count, "validation")
    if found.labels is not None:
        return found
    if file is not None:
        raise UsageError(f"{file} has no solutions, and without them no answer can be judged.")
    raise UsageError(
        "No shipped puzzles fit this model; give some with their solutions by --puzzles FILE."
    )


def _trace(artifact: Path, puzzles: PuzzleSet) -> Trace:
    from trm_export.commands.support.console import progress
    from trm_export.halting.tuning import think
    from trm_runtime.open import open_runner

    runner = open_runner(artifact)
    with progress("Thinking", 1.0) as advance:
        return think(runner, puzzles, lambda done, total: advance(done / total))


def _with_threshold(contract: StepContract, found: Tuning) -> StepContract:
    import dataclasses

    return dataclasses.replace(contract, halt=contract.halt.tuned(found.chosen.threshold))


def _document(
    artifact: Path, contract: StepContract, found: Tuning, written: Path | None
) -> dict[str, Any]:
    import trm_export

    return {
        "tool": f"trm-export {trm_export.__version__}",
        "kind": "tune",
        "artifact": artifact,
        "precision": contract.precision,
        "score": contract.halt.kind,
        "max_steps": contract.max_steps,
        "written": written,
        **vars(found),
    }


def _say(found: Tuning, contract: StepContract, dry_run: bool) -> None:
    from trm_export.commands.support.console import remark

    old, new = found.present, found.chosen
    if not found.changes:
        remark(f"The present threshold, {old.threshold:g}, stays: no other one saves steps.")
        return
    verb = "would be" if dry_run else "is"
    remark(
        f"{contract.halt.kind} > {new.threshold:g} {verb} the rule instead of > "
        f"{old.threshold:g}: {new.mean_steps - old.mean_steps:+.2f} steps; of {found.puzzles} "
        f"puzzles {found.lost} lost, {found.won} won (McNemar's exact p = {found.p_value:.2g})."
    )
