"""`trm-export tflite MODEL`."""

from __future__ import annotations

from typing import Annotated

import typer

from trm_export.commands.support.export_options import (
    Batch,
    Granularity,
    IntegerIO,
    ModelFile,
    Precision,
    PuzzleTable,
    Recursion,
    run_export,
)
from trm_export.commands.support.keep_options import AutoKeep, Count, Keep
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

Target = Annotated[
    str, typer.Option(help="The interpreter it is for: litert, or tflite-runtime (2.14).")
]


def tflite(
    model: ModelFile,
    output: Output = None,
    precision: Precision = "fp32",
    batch: Batch = None,
    granularity: Granularity = "step",
    recursion: Recursion = None,
    puzzle_table: PuzzleTable = "internal",
    integer_io: IntegerIO = False,
    keep: Keep = None,
    auto_keep: AutoKeep = None,
    count: Count = 64,
    target: Target = "litert",
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    halt_threshold: HaltThreshold = None,
    identifiers: Identifiers = None,
    task: TaskName = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export to TFLite (LiteRT) and check the file against Keras on real puzzles."""
    said = ModelOptions(
        trust_module, seq_len, max_steps, halt_rule, identifiers, task, halt_threshold
    )
    run_export(
        "tflite", model, output, said, precision=precision, batch=batch, granularity=granularity,
        recursion=recursion, puzzle_table=puzzle_table, integer_io=integer_io, engine=target,
        keep=keep, auto_keep=auto_keep, count=count, force=force, as_json=as_json,
    )  # fmt: skip
