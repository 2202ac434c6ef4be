"""`trm-export import CHECKPOINT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.options import AsJson, Force, Output

if TYPE_CHECKING:
    from trm_export.importing import ImportReport

CheckpointFile = Annotated[
    Path, typer.Argument(help="step_<N> or .pt of the official code, or the same as .safetensors.")
]
Given = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="What the folder does not say; repeatable."),
]
Dataset = Annotated[
    Path | None, typer.Option(help="A dataset.json elsewhere than beside the checkpoint.")
]


def import_(
    checkpoint: CheckpointFile,
    output: Output = None,
    given: Given = None,
    dataset: Dataset = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a .keras file of a checkpoint of the official PyTorch code."""
    from trm_export.api.frameworks import load_keras
    from trm_export.checkpoints.keras_file import refuse_keras
    from trm_export.commands.support.console import emit
    from trm_export.files import atomic_write, refuse_overwrite, require_suffix

    refuse_keras(checkpoint)
    target = output or Path("artifacts") / f"{checkpoint.stem}.keras"
    require_suffix(target, ".keras")
    refuse_overwrite(target, force=force)
    load_keras(any_backend=True)
    from trm_export.importing import import_checkpoint

    model, report = import_checkpoint(checkpoint, given=given or (), dataset=dataset)
    with atomic_write(target, force=force) as temporary:
        model.save(temporary)
    if as_json:
        emit({"path": target, **report.to_json()})
        return
    _show(report)
    print(target)


def _show(report: ImportReport) -> None:
    from trm_export.commands.support.console import bytes_text, remark, show_columns, show_table

    dtypes = ", ".join(f"{count} {dtype}" for dtype, count in report.dtypes.items())
    prefixes = ", ".join(prefix or "none" for prefix in report.prefixes)
    rows = [
        ("kind", f"official checkpoint, {report.kind}"),
        ("size", f"{bytes_text(report.size)} ({report.size:,} bytes)"),
        ("sha256", report.sha256),
        ("tensors", f"{report.tensors} ({dtypes}), name prefix: {prefixes}"),
        ("parameters", f"{report.parameters:,}"),
        ("weights", report.weights),
    ]
    if report.puzzle_parameters:
        rows.insert(-1, ("puzzle table", f"{report.puzzle_parameters:,} of these parameters"))
    if report.forward_dtype not in (None, "float32"):
        rows.append(("precision", f"trained in {report.forward_dtype}, imported in float32"))
    show_table(report.checkpoint, rows)
    settings = [(setting.name, str(setting.value), setting.source) for setting in report.settings]
    heads = ("setting", "value", "from")
    show_columns("Configuration", heads, settings, heads)
    for note in report.notes:
        remark(note)
