"""The two building blocks of a report, tables and figures, as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

PASSED, FAILED = "✓ passed", "✗ FAILED"


@dataclass(frozen=True)
class Table:
    """Rows of cells under one heading each; the first cell names its row.

    `titles` explain some headings. `first` rows stay above the others when a reader sorts them.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)
    first: int = 0


@dataclass(frozen=True)
class Figure:
    """A drawing inside the page; `label` describes it in words.

    `found` states the result, which Markdown shows under `name`; `read` explains the drawing.
    """

    svg: Markup
    label: str
    name: str
    found: str
    read: str = ""
