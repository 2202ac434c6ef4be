"""A parity result as text: the verdict first, then its tables; fits 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trm_export.commands.support.console import Row, printable, remark, show, show_columns, stdout
from trm_runtime.message_text import counted

if TYPE_CHECKING:
    from trm_export import Comparison, Explanation
    from trm_export.api.comparison import JudgedFile
    from trm_runtime.parity import Accuracy, Decisions, Difference, ParityResult, Score, Size

_STYLES = {"ok": "green", "failed": "bold red", "reported": "", "not judged": "dim"}
_MARKS = {"ok": "ok", "failed": "FAILED", "reported": "reported", "not judged": "not judged"}
_LISTED = 10
_SHOWN_STATES = 2
_HEADS = ("logits", "q_halt_logits")


def show_comparison(found: Comparison) -> None:
    """Print the result of one file, or a line for each file and the results of failed ones."""
    from rich.text import Text

    if len(found.files) == 1:
        show_result(found.files[0], found.model)
    else:
        show(*found.tables())
        for file in found.files:
            if not file.result:
                stdout().print(Text(f"\n{'-' * 60}", style="dim"))
                show_result(file, found.model)
    for text in found.remarks:
        remark(text)
    if found.report is not None:
        stdout().print(Text(f"\nReport: {found.report} (and .md, .json)"))
    for path, explanation in (found.explanations or {}).items():
        _explanation(path, explanation)


def _explanation(path: str, found: Explanation) -> None:
    from rich.text import Text

    for line in (f"\n{path}: {found.summary}", *found.findings()):
        stdout().print(Text(printable(line)), soft_wrap=False)
    show(*found.tables())


def show_result(file: JudgedFile, model: str) -> None:
    """Print the verdict, the ladder, the errors by step, accuracy and differences to stdout."""
    from rich.text import Text

    console, result, artifact = stdout(), file.result, str(file.path)
    style = "bold green" if result else "bold red"
    console.print(Text(printable(result.verdict), style=style), soft_wrap=False)
    console.print(Text(f"\n{printable(artifact)} ({result.precision})\nagainst {printable(model)}"))
    for sentence in file.hops:
        console.print(Text(printable(sentence)), soft_wrap=False)
    _ladder(result)
    if result.broken is not None:
        _list("Problems", result.broken.problems, result.broken.unlisted)
    if result.free:
        _errors(result)
    if result.accuracy is not None and result.decisions is not None:
        _accuracy(result.accuracy, result.decisions)
    if result.decisions is not None:
        differences = [_difference(d) for d in result.decisions.differences]
        _list("Different decisions", differences, result.decisions.unlisted)


def _ladder(result: ParityResult) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, title="\nLadder", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for rung in result.rungs:
        mark = Text(_MARKS[rung.status], style=_STYLES[rung.status])
        table.add_row(rung.name, mark, Text(printable(rung.summary)))
    stdout().print(table, soft_wrap=False)


def _errors(result: ParityResult) -> None:
    """Forced errors over all rows; free ones over settled puzzles, and over the others."""
    from rich.text import Text

    forced = {(error.step, error.tensor): error.relative_l2 for error in result.forced}
    states = _states(result)
    rows = []
    for step in result.free:
        ours = [_short(forced[step.step, name]) for name in (*states, *_HEADS)]
        free = [_relative(step.tensors[name].settled) for name in (*states[:1], "logits")]
        others = _relative(step.tensors["logits"].unsettled)
        rows.append((str(step.step), *ours, *free, others, f"{step.cells_equal:.2%}"))
    free_heads = [f"{name} free" for name in (*states[:1], "logits")]
    heads = ["step", *states, "logits", "q_halt", *free_heads, "others", "cells equal"]
    show_columns(
        "Relative L2 error by step: forced, then free on settled puzzles and others", heads, rows
    )
    text = "Forced: every step from the model's carry. Settled: the model solves the puzzle."
    stdout().print(Text(text, style="dim"))


def _states(result: ParityResult) -> list[str]:
    """The first states of the carry: the float tensors before the logits."""
    names = dict.fromkeys(error.tensor for error in result.forced if error.dtype == "float32")
    return list(names)[: min(list(names).index("logits"), _SHOWN_STATES)]


def _accuracy(accuracy: Accuracy, decisions: Decisions) -> None:
    rows = [
        _score("model", accuracy.reference, decisions.mean_steps),
        _score("file", accuracy.candidate, decisions.candidate_mean_steps),
    ]
    heads = ("", "exact", "95 % interval", "cells", "valid", "mean steps")
    show_columns(f"Accuracy on {counted(accuracy.n, 'puzzle')}", heads, rows)
    lost, won = (_rows(rows) for rows in (accuracy.lost, accuracy.won))
    _list("Lost and won", [f"lost {lost}; won {won}; McNemar's exact p = {accuracy.p_value:.2g}"])


def _score(side: str, score: Score, mean_steps: float) -> Row:
    low, high = score.interval
    valid = "-" if score.valid is None else f"{score.valid:.2%}"
    interval = f"{low * 100:.1f} to {high * 100:.1f} %"
    return side, f"{score.exact:.2%}", interval, f"{score.cells:.2%}", valid, f"{mean_steps:.2f}"


def _rows(rows: Sequence[int]) -> str:
    if not rows:
        return "none"
    more = f" and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    noun = "puzzle" if len(rows) == 1 else "puzzles"
    return f"{len(rows)} ({noun} {', '.join(map(str, rows[:_LISTED]))}{more})"


def _difference(d: Difference) -> str:
    kind = "near-tie" if d.near_tie else "difference"
    place = f" in {counted(d.cells, 'cell')}, first cell {d.first_cell}" if d.cells else ""
    group = "settled" if d.settled else "unsettled: judged by accuracy only"
    values = f"expected {d.expected}, got {d.got}"
    return f"puzzle {d.puzzle}, {d.kind}{place}: {values}; {kind}, {d.margin:.2g} logits ({group})"


def _list(title: str, lines: Sequence[str], unlisted: int = 0) -> None:
    from rich.text import Text

    if not lines:
        return
    count = len(lines) + unlisted
    more = [f"... and {count - _LISTED} more"] if count > _LISTED else []
    text = "\n".join(f"  - {printable(line)}" for line in (*lines[:_LISTED], *more))
    stdout().print(Text(f"\n{title}", style="italic"))
    stdout().print(Text(text), soft_wrap=False)


def _relative(size: Size | None) -> str:
    return _short(None if size is None else size.relative_l2)


def _short(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}"
