"""`trm-export import CHECKPOINT`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import INPUT, AsJson, Force, Output
from trm_export.commands.support.trust_options import TrustOptions

_CheckpointFile = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="step_<N> or .pt file of the official code, or the same tensors as .safetensors.",
    ),
]
_Given = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting that the folder does not have; repeat it for more.",
        rich_help_panel=INPUT,
    ),
]
_Dataset = Annotated[
    Path | None,
    typer.Option(
        help="Path of a dataset.json that is not beside the checkpoint.", rich_help_panel=INPUT
    ),
]


_Table = Annotated[
    Literal["reset", "mean"] | None,
    typer.Option(
        "--puzzle-table",
        help="New puzzle embeddings for another data set: all zero, or the mean of the old ones.",
        rich_help_panel=INPUT,
    ),
]


@examples(
    "trm-export import checkpoints/step_16275",
    "trm-export import step_16275.safetensors --set num_heads=8 -o model.keras",
)
def import_(
    checkpoint: _CheckpointFile,
    trust: TrustOptions,
    given: _Given = None,
    dataset: _Dataset = None,
    puzzle_table: _Table = None,
    output: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Convert a checkpoint of the official PyTorch code to a .keras file."""
    import trm_export
    from trm_export.api.importing import the_checkpoint
    from trm_export.commands.support.command_line import command
    from trm_export.commands.support.console import emit, progress, remark, show

    checkpoint = the_checkpoint(checkpoint)
    trust.apply([checkpoint])
    with progress("Reading the checkpoint"):
        result = trm_export.import_checkpoint(
            checkpoint,
            output,
            given=given or (),
            dataset=dataset,
            puzzle_table=puzzle_table,
            force=force,
        )
    if as_json:
        emit(result.to_json())
        return
    show(*result.tables())
    for note in result.report.notes:
        remark(note)
    print(result.path)
    remark(f"Next: {command('onnx', result.path)}")
