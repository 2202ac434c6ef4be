"""Results for people: one line of text, or small tables, in a notebook or a terminal.

Standard library only. Knows nothing about the contents of a table; an array is shown as its dtype
and shape.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB")
_BRIEF = 300  # characters of a result's one line
MAX_ROWS = 10  # of a table in a notebook
_MAX_ITEMS, _MAX_TEXT = 6, 60  # of a field


@dataclass(frozen=True)
class Table:
    """One table. Without `heads` it has two columns, of which the first has the names of the rows.

    `words` are the heads of the columns of text, which a terminal aligns to the left.
    """

    title: str
    rows: Sequence[Sequence[str]]
    heads: Sequence[str] = ()
    words: Sequence[str] = ("",)

    def html(self) -> str:
        """The table as a notebook shows it."""
        return html_table(self.title, self.heads, self.rows)


class Shown(ABC):
    """A result that a notebook shows as tables, and `repr` as one line."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The result in one short sentence."""

    @abstractmethod
    def tables(self) -> tuple[Table, ...]:
        """The result as tables, for people."""

    def __repr__(self) -> str:
        line = printable(" ".join(self.summary.split()))
        short = line if len(line) <= _BRIEF else f"{line[: _BRIEF - 3]}..."
        return f"<{type(self).__name__}: {short}>"

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables())


def one_line(value: Any) -> str:
    """A dataclass on one line, even if its fields are large; used as its `__repr__`."""
    texts = (f"{name}={text}" for name, text in _fields(value))
    return f"{type(value).__name__}({', '.join(texts)})"


def field_table(value: Any) -> str:
    """A dataclass as HTML, a row a field; used as its `_repr_html_`."""
    return html_table(type(value).__name__, ("field", "value"), _fields(value))


def first_rows(title: str, shown: int, count: int) -> str:
    """The title of a table that may show only the first of its rows."""
    return title if shown == count else f"{title} (the first {shown})"


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a caption, all text escaped; without `heads` a row's first cell is its name."""
    top = f"<thead><tr>{_cells('th', heads)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{_row(row, named=not heads)}</tr>" for row in rows)
    return f"<table><caption>{_text(title)}</caption>{top}<tbody>{body}</tbody></table>"


def printable(text: str) -> str:
    """`text` with every control character except the newline escaped.

    Names come from untrusted files; a terminal must not interpret them.
    """
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def bytes_text(size: int) -> str:
    """`20.7 MB` for 20 700 000: decimal units, three significant digits."""
    power = min(int(math.log10(abs(size)) / 3), len(_UNITS) - 1) if size else 0
    return f"{size / 1000**power:.3g} {_UNITS[power]}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _row(row: Sequence[str], *, named: bool) -> str:
    return _cells("th", row[:1]) + _cells("td", row[1:]) if named else _cells("td", row)


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{_text(text)}</{tag}>" for text in texts)


def _text(text: str) -> str:
    return escape(printable(text)).replace("\n", "<br>")


def _fields(value: Any) -> list[tuple[str, str]]:
    return [(f.name, _short(getattr(value, f.name))) for f in fields(value)]


def _short(value: Any) -> str:
    """A short text for a value: dtype and shape of an array, size of a long or nested one."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    if is_dataclass(value):
        return type(value).__name__
    if isinstance(value, (Mapping, tuple, list)):
        items = list(value.values() if isinstance(value, Mapping) else value)
        plain = all(isinstance(item, (str, int, float, type(None))) for item in items)
        if not plain or len(items) > _MAX_ITEMS:
            return f"<{len(items)} items>"
    text = repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
