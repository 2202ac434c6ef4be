"""The two building blocks of a report, tables and figures, as plain text."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

PASSED, FAILED = "✓ passed", "✗ FAILED"


@dataclass(frozen=True)
class Table:
    """Rows of cells under one heading each; the first cell names its row."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


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
