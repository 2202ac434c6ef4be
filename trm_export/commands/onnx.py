"""`trm-export onnx MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_export.commands.options import AsJson, Force, Output


def onnx(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
    output: Output = None,
    batch: Annotated[str, typer.Option(help="Rows of a call: a number, or free.")] = "free",
    recursion: Annotated[
        str, typer.Option(help="unrolled (fastest in ONNX Runtime) or rolled (quickest to export).")
    ] = "unrolled",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export one ACT step to ONNX and check it against Keras on real puzzles."""
    from trm_export.commands.console import bytes_text, emit, remark
    from trm_export.commands.frameworks import load_keras
    from trm_export.errors import UsageError

    if batch != "free" and not batch.isdecimal():
        raise UsageError(f"--batch is a number or free, got {batch!r}.")
    load_keras()
    from trm_export.checkpoint import load_model
    from trm_export.export.onnx import export_onnx
    from trm_export.export.probe import probe_puzzles

    target = output or Path("artifacts") / f"{model.stem}.onnx"
    trm = load_model(model)
    result = export_onnx(
        trm, target, probe_puzzles(trm), batch=None if batch == "free" else int(batch),
        recursion=recursion, force=force,
    )  # fmt: skip
    if as_json:
        emit({**vars(result), "contract": None, "sidecar": result.sidecar})
        return
    remark(
        f"Exported in {result.seconds:.1f} s, {bytes_text(result.bytes)}, {result.recursion}; "
        f"checked in {result.check_seconds:.1f} s: forced parity holds, worst relative error "
        f"{result.forced_error:.1e}."
    )
    print(result.path)
    print(result.sidecar)
