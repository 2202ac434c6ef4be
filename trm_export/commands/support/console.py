"""The output of commands: results on stdout, progress and remarks on stderr.

With `--json` stdout is exactly one document. Colours depend on the terminal and NO_COLOR; a
progress bar is shown only if stderr is a terminal. Rich is imported at its first use.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trm_export.errors import BackupWarning, ConfigurationWarning, OutputWarning, SignatureWarning
from trm_runtime.display import Table, bytes_text, printable
from trm_runtime.errors import OldFileWarning
from trm_runtime.json_values import plain
from trm_runtime.message_text import wrapped
from trm_runtime.streams import discard

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Row = Sequence[str]
_REMARKS = (BackupWarning, ConfigurationWarning, OutputWarning, SignatureWarning, OldFileWarning)

__all__ = [
    "Advance",
    "Row",
    "bytes_text",
    "emit",
    "print_stderr",
    "printable",
    "progress",
    "remark",
    "sentences",
    "show",
    "show_columns",
    "show_table",
    "stderr",
    "stdout",
    "warnings_as_remarks",
]


_above: list[Console] = []
"""The console of the bar that is shown, if any."""


class Advance(Protocol):
    """Reports progress."""

    def __call__(self, done: float, note: str = "") -> None:
        """`done` is the share of a stage, 0 if unknown; `note` says what is being done.

        A smaller share than before, or another note at 0, begins a new stage.
        """


def stdout() -> Console:
    """The console for results; lines are never broken inside a path."""
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
    """Print a line of plain text on stderr."""
    from rich.text import Text

    print_stderr(Text(printable(text)))


def sentences(text: str) -> None:
    """Print plain text on stderr, in lines as wide as the terminal; not for commands."""
    for line in wrapped(printable(text)):
        remark(line)


def print_stderr(text: Text) -> None:
    """Print on stderr, above a bar; nothing where that is closed or full."""
    try:
        (_above[-1] if _above else stderr()).print(text, soft_wrap=True)
    except OSError:
        discard(sys.stderr)


@contextmanager
def warnings_as_remarks() -> Iterator[None]:
    """In the block, warnings about our files and models are remarks; others are unchanged."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, _REMARKS):
            remark(str(message))
        else:
            others(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", OutputWarning)
        for once in (OldFileWarning, SignatureWarning):  # for each file
            warnings.simplefilter("default", once)
        warnings.showwarning = show
        yield


def show(*tables: Table) -> None:
    """Print tables of a result on stdout."""
    for table in tables:
        if table.heads:
            show_columns(table.title, table.heads, table.rows, table.words)
        else:
            show_table(table.title, [(row[0], row[1]) for row in table.rows])


def show_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a titled two-column table on stdout; the second column is wrapped."""
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
    """Print a titled table with heads on stdout; columns of `words` are aligned to the left."""
    from rich.table import Table
    from rich.text import Text

    named = Text(printable(f"\n{title}"))
    table = Table(box=None, title=named, title_justify="left", padding=(0, 1, 0, 0))
    for head in heads:
        left = head in words
        table.add_column(
            head, justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    stdout().print(table, soft_wrap=False)


@contextmanager
def progress(description: str = "Loading", *, lines: bool = False) -> Iterator[Advance]:
    """Show one bar on stderr for the stages of a job; nothing where that is no terminal.

    Yields the function that updates it. `description` is shown until it is called. With `lines`
    the note of each stage that is done remains as a line, without a terminal too.
    """
    if not sys.stderr.isatty():
        yield _printed if lines else _silent
        return
    from trm_export.commands.support.bar import stage_bar

    with stage_bar(description) as bar:

        def advance(done: float, note: str = "") -> None:
            bar.advance(done, note)
            if lines:
                _printed(done, note)

        _above.append(bar.console)
        try:
            yield advance
        finally:
            _above.remove(bar.console)


def _silent(done: float, note: str = "") -> None:
    pass


def _printed(done: float, note: str = "") -> None:
    if done == 1:
        remark(note)
