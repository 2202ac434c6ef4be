"""`trm-export onnx MODEL`."""

from __future__ import annotations

from trm_export.commands.exporting import (
    Batch,
    Granularity,
    ModelFile,
    Precision,
    PuzzleTable,
    Recursion,
    run_export,
)
from trm_export.commands.options import AsJson, Force, Output


def onnx(
    model: ModelFile,
    output: Output = None,
    precision: Precision = "fp32",
    batch: Batch = None,
    granularity: Granularity = "step",
    recursion: Recursion = None,
    puzzle_table: PuzzleTable = "internal",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export to ONNX and check the file against Keras on real puzzles."""
    run_export(
        "onnx", model, output, precision=precision, batch=batch, granularity=granularity,
        recursion=recursion, puzzle_table=puzzle_table, force=force, as_json=as_json,
    )  # fmt: skip
