"""The one progress bar of all commands: what is being done, how far it is, and its time.

Rich is imported here, so the module is loaded at the first bar of a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from trm_runtime.display import printable

_BAR = 20  # characters
_TOLD = 0.02  # share of a stage after its first report; before it no time left is shown


@final
class _Time(ProgressColumn):
    """Time left, or time passed where the end is unknown or the begin too slow to go by."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        if left is None or task.completed - task.fields["first"] < _TOLD:
            return Text(_clock(task.elapsed or 0.0), style="progress.elapsed")
        return Text(f"{_clock(left)} left", style="progress.remaining")


def _whole() -> Column:
    return Column(no_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@final
class StageBar:
    """A bar of a job of several stages."""

    def __init__(self, bar: Progress, description: str) -> None:
        self._bar, self._note = bar, description
        self._first = self._last = 0.0  # reports of the share done in the stage
        self._task = self._added(description)

    def advance(self, done: float, note: str = "") -> None:
        """See `console.Advance`."""
        note = note or self._note
        if done < self._last or (not done and note != self._note):
            self._bar.remove_task(self._task)
            self._task, self._last = self._added(note), 0.0
        if done:
            self._first = self._first if self._last else done
            self._bar.update(
                self._task, total=1.0, completed=done, description=printable(note),
                first=self._first,
            )  # fmt: skip
        self._note, self._last = note, done

    def _added(self, note: str) -> TaskID:
        return self._bar.add_task(printable(note), total=None, first=0.0)

    @property
    def console(self) -> Console:
        """Prints above the bar."""
        return self._bar.console


@contextmanager
def stage_bar(description: str) -> Iterator[StageBar]:
    """Show a bar on the terminal of stderr, and remove it at the end.

    It is drawn through a descriptor of its own, because loading an engine redirects descriptor 2.
    """
    columns = (
        TextColumn("{task.description}", markup=False, table_column=_whole()),
        BarColumn(_BAR),
        TaskProgressColumn("{task.percentage:>3.0f}%", "", markup=False, table_column=_whole()),
        _Time(table_column=_whole()),
    )
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding) as terminal:
        console = Console(file=terminal, highlight=False)
        with Progress(*columns, console=console, transient=True) as bar:
            yield StageBar(bar, description)
