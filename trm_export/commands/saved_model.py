"""`trm-export saved-model MODEL`."""

from __future__ import annotations

from typing import Annotated

import typer

from trm_export.commands.exporting import Batch, Granularity, ModelFile, Recursion, run_export
from trm_export.commands.options import AsJson, Force, Output

Floating = Annotated[str, typer.Option(help="fp32 or fp16.")]


def saved_model(
    model: ModelFile,
    output: Output = None,
    precision: Floating = "fp32",
    batch: Batch = None,
    granularity: Granularity = "step",
    recursion: Recursion = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export to a SavedModel folder and check it against Keras on real puzzles."""
    run_export(
        "saved-model", model, output, precision=precision, batch=batch, granularity=granularity,
        recursion=recursion, force=force, as_json=as_json,
    )  # fmt: skip
