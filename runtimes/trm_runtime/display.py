"""Results at a prompt and in a notebook: one line of text, or a small table in HTML.

Standard library only; knows an array by its shape and dtype.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

MAX_ROWS = 10  # of a table in a notebook
_MAX_ITEMS, _MAX_TEXT = 6, 60


def one_line(value: Any) -> str:
    """A dataclass on one line, whatever its fields hold; serves as its `__repr__`."""
    fields = (f"{name}={text}" for name, text in _fields(value))
    return f"{type(value).__name__}({', '.join(fields)})"


def field_table(value: Any) -> str:
    """A dataclass as HTML, a row a field; serves as its `_repr_html_`."""
    return html_table(type(value).__name__, ("field", "value"), _fields(value))


def html_table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], unlisted: int = 0
) -> str:
    """A table in HTML of what `str` makes of the cells; `unlisted`: so many rows are left out."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    more = f"<tr><td colspan={len(heads)}>... and {unlisted} more</td></tr>" if unlisted else ""
    start = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
    return f"{start}<tbody>{body}{more}</tbody></table>"


def _fields(value: Any) -> list[tuple[str, str]]:
    return [(f.name, _short(getattr(value, f.name))) for f in dataclasses.fields(value)]


def _short(value: Any) -> str:
    """A value in few characters: arrays by dtype and shape, long or nested ones by their size."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    if isinstance(value, (Mapping, tuple, list)):
        items = list(value.values() if isinstance(value, Mapping) else value)
        plain = all(isinstance(item, (str, int, float, type(None))) for item in items)
        if not plain or len(items) > _MAX_ITEMS:
            return f"<{len(items)} items>"
    text = repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
