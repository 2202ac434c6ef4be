"""`trm-export saved-model MODEL`."""

from __future__ import annotations

from typing import Annotated

import typer

from trm_export.commands.support.export_options import (
    Batch,
    Granularity,
    ModelFile,
    PuzzleTable,
    Recursion,
    run_export,
)
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
from trm_export.commands.support.options import AsJson, Force, Output

Floating = Annotated[str, typer.Option(help="fp32 or fp16.")]


def saved_model(
    model: ModelFile,
    output: Output = None,
    precision: Floating = "fp32",
    batch: Batch = None,
    granularity: Granularity = "step",
    recursion: Recursion = None,
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    halt_threshold: HaltThreshold = None,
    identifiers: Identifiers = None,
    task: TaskName = None,
    puzzle_table: PuzzleTable = "internal",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export to a SavedModel folder and check it against Keras on real puzzles."""
    said = ModelOptions(
        trust_module, seq_len, max_steps, halt_rule, identifiers, task, halt_threshold
    )
    run_export(
        "saved-model", model, output, said, precision=precision, batch=batch,
        granularity=granularity, recursion=recursion, puzzle_table=puzzle_table, force=force,
        as_json=as_json,
    )  # fmt: skip
