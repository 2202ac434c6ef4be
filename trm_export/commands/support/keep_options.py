"""`--keep` and `--auto-keep` of the export commands: layers that stay in float."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trm_export.explain.auto_keep import AutoKeepResult, Stage
    from trm_export.explain.ranking import LayerImpact
    from trm_export.exporters.choices import Choices
    from trm_export.step.step_model import StepModel

Keep = Annotated[
    list[str] | None,
    typer.Option(
        help="Layer that stays float32, a name or a pattern such as '*down'; give it once for "
        "each. An unknown name lists them all."
    ),
]
AutoKeep = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="Keep the worst layers in float, one after the other, until the file passes its "
        "gate; PERCENT is how many more bytes it may have.",
    ),
]
Count = Annotated[
    int, typer.Option(min=1, help="Puzzles on which --auto-keep judges every file it tries.")
]
_WORDS = ("kept in float", "verdict", "layer")


def budget_of(text: str | None) -> float | None:
    """The percent of ``20`` or ``20%``; UsageError for anything else."""
    from trm_export.errors import UsageError

    if text is None:
        return None
    number = text.strip().removesuffix("%").strip()
    try:
        budget = float(number)
    except ValueError:
        budget = -1.0
    if not 0 <= budget <= 1000:
        raise UsageError(f"--auto-keep {text}: expected how many percent of bytes may be added.")
    return budget


def run_auto_keep(
    model: StepModel,
    path: Path,
    kind: str,
    choices: Choices,
    *,
    budget: float,
    count: int,
    source: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Search, show every file that was tried, and print the paths of the one that was written.

    Exit code 5 where none passed.
    """
    from trm_export.commands.support.console import emit, progress
    from trm_export.errors import ParityError
    from trm_export.explain.auto_keep import auto_keep
    from trm_export.exporters.export import format_named
    from trm_export.exporters.probe import probe_puzzles

    with progress("Trying") as advance:
        found = auto_keep(
            model, path, probe_puzzles(model), format_named(kind), choices, budget=budget,
            judged=probe_puzzles(model, count), force=force, source=source,
            progress=lambda words: advance(0, words),
        )  # fmt: skip
    if as_json:
        emit(found.to_json())
    else:
        _show(found)
    if not found:
        raise typer.Exit(ParityError.exit_code)


def _show(found: AutoKeepResult) -> None:
    from trm_export.commands.support.console import remark, show_columns
    from trm_export.commands.support.export_options import say

    if found.ranking:
        show_ranking(found.ranking)
    heads = ("kept in float", "bytes", "least cosine", "exact", "95 % interval", "verdict")
    rows = [_row(found.stages, number) for number in range(len(found.stages))]
    show_columns("Accuracy against bytes", heads, rows, _WORDS)
    remark(found.verdict)
    if found.export is not None:
        say(found.export)
        for path in (found.export.path, found.export.sidecar, *found.export.documents):
            print(path)


def _row(stages: Sequence[Stage], number: int) -> tuple[str, ...]:
    stage = stages[number]
    score = None if stage.accuracy is None else stage.accuracy.candidate
    interval = "-"
    if score is not None:
        interval = f"{score.interval[0] * 100:.1f} to {score.interval[1] * 100:.1f} %"
    added = stage.kept[len(stages[number - 1].kept) :] if number else stage.kept
    kept = ", ".join(added) or "nothing"
    return (
        f"+ {kept}" if number else kept,
        f"{stage.bytes:,}",
        f"{stage.cosine:.6f}",
        "-" if score is None else f"{score.exact:.2%}",
        interval,
        "passed" if stage.passed else "FAILED",
    )


def show_ranking(ranking: Sequence[LayerImpact]) -> None:
    """Layers by the error that each adds alone, as a table on stdout."""
    from trm_export.commands.support.console import bytes_text, show_columns

    rows = [
        (one.layer, f"{one.cosine:.6f}", f"{one.relative_l2:.1e}", bytes_text(one.bytes_saved))
        for one in ranking
    ]
    title = "Layers by the forced error that each adds when it alone is small"
    show_columns(title, ("layer", "least cosine", "relative L2", "saves"), rows, _WORDS)
