"""What commands print with: results to stdout, progress and remarks to stderr.

With `--json` stdout carries exactly one document. Colour follows the terminal and NO_COLOR; a
progress bar appears only where stderr is a terminal. Rich is imported when first needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trm_runtime.display import Table, bytes_text, printable
from trm_runtime.json_values import plain

if TYPE_CHECKING:
    from rich.console import Console

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
    "stderr",
    "stdout",
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
    console = stderr()
    if not console.is_terminal:
        yield _silent
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    parts = ("{task.description}", BarColumn(), "{task.percentage:>3.0f}%", "{task.fields[note]}")
    columns = [TextColumn(part) if isinstance(part, str) else part for part in parts]
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda done, note="": bar.update(task, completed=done, note=note)


def _silent(done: float, note: str = "") -> None:
    pass
