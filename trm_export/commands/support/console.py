"""What commands print with: results to stdout, progress and remarks to stderr.

With `--json` stdout carries exactly one document. Colour follows the terminal and NO_COLOR; a
progress bar appears only where stderr is a terminal. Rich is imported when first needed.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trm_export.errors import OutputWarning
from trm_runtime.display import Table, bytes_text, printable
from trm_runtime.json_values import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Row = Sequence[str]

__all__ = [
    "Advance",
    "Row",
    "bytes_text",
    "emit",
    "printable",
    "progress",
    "remark",
    "show",
    "show_columns",
    "show_table",
    "stages",
    "stderr",
    "stdout",
    "warnings_as_remarks",
]


class Advance(Protocol):
    """Reports progress: how much is done so far, and a short remark to show beside the bar."""

    def __call__(self, done: float, note: str = "") -> None:
        """`done` counts from 0 to the bar's total."""


def stdout() -> Console:
    """The console for results; lines are never broken in the middle of a path."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    """The console for errors, remarks and progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def emit(document: Mapping[str, Any]) -> None:
    """Write the one JSON document of a command to stdout."""
    sys.stdout.write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")


def remark(text: str) -> None:
    """A plain line for people on stderr, beside the result."""
    from rich.text import Text

    stderr().print(Text(printable(text)))


@contextmanager
def warnings_as_remarks() -> Iterator[None]:
    """While the block runs, an OutputWarning is a remark; other warnings are as they were."""
    others = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, OutputWarning):
            remark(str(message))
        else:
            others(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", OutputWarning)
        warnings.showwarning = tell
        yield


def show(*tables: Table) -> None:
    """Tables of a result on stdout."""
    for table in tables:
        if table.heads:
            show_columns(table.title, table.heads, table.rows, table.words)
        else:
            show_table(table.title, [(row[0], row[1]) for row in table.rows])


def show_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A titled two-column table on stdout; the second column folds to the width of the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(printable(title)), title_justify="left", show_header=False, box=None,
        pad_edge=False,
    )  # fmt: skip
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(printable(name)), Text(printable(value)))
    stdout().print(table, soft_wrap=False)


def show_columns(
    title: str, heads: Row, rows: Sequence[Row], words: Sequence[str] = ("", "side", "file")
) -> None:
    """A titled table with a head on stdout; columns of `words` to the left, the others right."""
    from rich.table import Table

    table = Table(box=None, title=f"\n{title}", title_justify="left", padding=(0, 1, 0, 0))
    for head in heads:
        left = head in words
        table.add_column(
            head, justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for row in rows:
        table.add_row(*row)
    stdout().print(table, soft_wrap=False)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Advance]:
    """A bar on stderr while the block runs; `total` None where the length is unknown.

    Yields the function that moves it. Without a terminal nothing is shown.
    """
    with _bar(description, total) as (bar, task):
        if bar is None:
            yield _silent
        else:
            yield lambda done, note="": bar.update(task, completed=done, note=note)


@contextmanager
def stages() -> Iterator[Advance]:
    """A bar on stderr for a job of several stages, each told by its name and its share (0 to 1).

    A share that is smaller than before begins a stage, whose time is estimated anew.
    """
    with _bar("", 1.0) as (bar, task):
        last = 0.0

        def advance(done: float, note: str = "") -> None:
            nonlocal last
            if bar is not None:
                if done < last:
                    bar.reset(task)
                bar.update(task, completed=done, description=printable(note))
            last = done

        yield advance


@contextmanager
def _bar(description: str, total: float | None) -> Iterator[tuple[Progress | None, Any]]:
    """A progress bar and its one task; None where there is no terminal."""
    console = stderr()
    if not console.is_terminal:
        yield None, None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    parts = ("{task.description}", BarColumn(), "{task.percentage:>3.0f}%", "{task.fields[note]}")
    columns = [TextColumn(part) if isinstance(part, str) else part for part in parts]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        yield bar, bar.add_task(description, total=total, note="")


def _silent(done: float, note: str = "") -> None:
    pass
