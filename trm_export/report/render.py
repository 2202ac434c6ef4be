"""A report as HTML and as Markdown, by the templates in this package."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from trm_export.report.board_svg import board_svg, shared_parts
from trm_export.report.lost_boards import Board, text_board
from trm_export.report.table import FAILED, PASSED
from trm_export.report.view import View

_MARKUP = re.compile(r"([\\`*_{}\[\]<>&#|~!])")
_CLASSES = {PASSED: "good", FAILED: "bad", "✓ ok": "good", "✗ FAILED": "bad"}
_LINE = 100  # characters of text boards side by side


def html(view: View) -> str:
    """One HTML page without external resources."""
    return _environment(escape=True).get_template("report.html.j2").render(report=view) + "\n"


def markdown(view: View) -> str:
    """The same without figures."""
    return _environment(escape=False).get_template("report.md.j2").render(report=view) + "\n"


def _environment(*, escape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("trm_export.report"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(md=escaped, code=fenced, mark=_class, rows_of_boards=_rows_of_boards)
    environment.globals.update(
        text_board=text_board, board_svg=board_svg, shared_parts=shared_parts
    )
    return environment


def escaped(text: str) -> str:
    """Any plain text, escaped for a line or a cell of Markdown."""
    return _MARKUP.sub(r"\\\1", text)


def fenced(text: str) -> str:
    """A code block with a fence longer than any in the text."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _class(cell: str) -> str:
    return _CLASSES.get(cell, "bad" if cell.startswith("✗") else "")


def _rows_of_boards(boards: tuple[Board, ...], side: int) -> list[tuple[Board, ...]]:
    """As many boards a line as there is room for."""
    size = max((len(cell.text) for board in boards for cell in board.cells), default=1)
    fit = max(1, _LINE // ((max(size, 1) + 2) * side + 3))
    return [boards[i : i + fit] for i in range(0, len(boards), fit)]
