"""`--explain` of `trm-export parity`: why a file fails, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.model_options import ModelOptions, opened

if TYPE_CHECKING:
    from trm_export.explain.blame import Attempt
    from trm_export.explain.explain import Explanation
    from trm_export.parity.document import JudgedFile
    from trm_runtime.parity import Golden

Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Of a file that fails, find the first bad operator and say who is to "
        "blame: the file, the engine, the conversion or the precision; of int8 files, rank the "
        "layers by the error that each adds. Takes several exports.",
    ),
]
_LISTED = 8
_WORDS = ("trial", "passes", "")
_PASSES = {True: "yes", False: "no", None: "-"}


def explained(
    model: Path, said: ModelOptions, files: Sequence[JudgedFile], golden: Golden
) -> dict[str, Explanation]:
    """The explanation of every file that fails or is int8, by its path."""
    from trm_export.api.frameworks import load_keras
    from trm_export.commands.support.console import progress

    wanted = [f for f in files if not f.result or f.contract.precision.startswith("int8")]
    if not wanted:
        return {}
    load_keras()
    from trm_export.explain.explain import explain
    from trm_export.explain.sample import few

    found = {}
    with progress("Explaining") as advance:
        source = opened(model, said, wanted[0].contract)
        for file in wanted:
            found[str(file.path)] = explain(
                source, file.path, few(golden, file.result), gates=file.result.gates,
                progress=lambda words: advance(0, words),
            )  # fmt: skip
    return found


def show_explanation(path: str, found: Explanation) -> None:
    """Print what was found out about one file to stdout."""
    from rich.text import Text

    from trm_export.commands.support.console import printable, show, show_columns, stdout
    from trm_export.exporters.keep_search import ranking_table

    lines = [f"\n{path}: to blame is {found.conclusion}", *_findings(found)]
    for line in lines:
        stdout().print(Text(printable(line)), soft_wrap=False)
    if found.attempts is not None:
        rows = [_row(one) for one in found.attempts]
        heads = ("trial", "passes", "least cosine", "relative L2")
        show_columns("Trials: single steps against the model", heads, rows, _WORDS)
    if found.ranking:
        show(ranking_table(found.ranking))


def _findings(found: Explanation) -> list[str]:
    lines = []
    if found.first is not None:
        lines.append(f"First bad step: {found.first.step}, tensor {found.first.tensor}.")
    walk = found.operators
    if walk is not None and walk.first is not None:
        read = [one.tensor for one in found.stored if one.tensor in walk.first.reads]
        reads = f" and reads {', '.join(read)}" if read else ""
        lines.append(
            f"First bad operator, fed the values of {found.operators_of}: {walk.first.words}: "
            f"{walk.first.problem}. It makes {walk.first.output}{reads}."
        )
    elif walk is not None and walk.largest is not None:
        lines.append(
            f"No operator leaves the tolerance alone, fed the values of {found.operators_of}; the "
            f"largest error, {walk.largest.relative_l2:.1e}, is that of {walk.largest.words}."
        )
    elif found.attempts is not None:
        lines.append(f"Operators were not compared: {found.operators_of}.")
    if found.stored:
        lines.append("Stored otherwise than in a fresh export:")
        lines += [f"  - {one.words}" for one in found.stored[:_LISTED]]
    if len(found.stored) > _LISTED:
        lines.append(f"  - ... and {len(found.stored) - _LISTED} more")
    return lines


def _row(one: Attempt) -> tuple[str, ...]:
    cosine = "-" if one.cosine is None else f"{one.cosine:.6f}"
    error = "-" if one.relative_l2 is None else f"{one.relative_l2:.1e}"
    return one.what, _PASSES[one.passed], cosine, error
