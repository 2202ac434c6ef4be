"""What the templates know how to show: tables and figures of plain text."""

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
    """A drawing that is part of the page; `label` says in words what it shows.

    Under a `name` stands what was `found`, which needs no drawing, and how to `read` this one.
    """

    svg: Markup
    label: str
    name: str
    found: str
    read: str = ""
