"""Matplotlib figures as inline SVG of an HTML page.

The same figure gives the same bytes. Colours are names that the page's style sheet defines for a
light and for a dark page; text stays text, in the font of the page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure as Drawing

# Stand-ins that matplotlib takes for colours; the style sheet has a variable for each.
INK, FAINT, LINE, ON_FILL = "#010201", "#010202", "#010203", "#010204"
BLUE, RED, ORANGE, GREEN, PURPLE = "#010205", "#010206", "#010207", "#010208", "#010209"
_VARIABLES = {
    INK: "ink", FAINT: "faint", LINE: "line", ON_FILL: "on-fill", BLUE: "blue", RED: "red",
    ORANGE: "orange", GREEN: "green", PURPLE: "purple",
}  # fmt: skip

_LOOKS = {
    "fp32": (BLUE, "o"), "fp16": (GREEN, "s"), "int8": (RED, "^"), "int8-static": (PURPLE, "D")
}  # fmt: skip

WIDTH = 4.4  # inches: about 320 points, so that 10 point text is still read on a phone

_SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the layout is the same everywhere
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_ID = re.compile(r'(id=")([^"]+)"')
_REFERENCE = re.compile(r'(?:xlink:)?(href=")#([^"]+)"|(url\()#([^)]+)\)')
_FAMILY = re.compile(r'font-family: [^;"]*;? ?')
_SHORTHAND = re.compile(r'font: (?:(\d+|bold) )?([\d.]+px) [^;"]*')  # matplotlib before 3.9


@contextmanager
def house_style() -> Iterator[None]:
    """A context with the matplotlib settings of this report."""
    with matplotlib.rc_context(_SETTINGS):
        yield


@dataclass(frozen=True)
class Margins:
    """Room around the axes, in inches. Fixed, because a layout engine draws everything twice."""

    left: float = 0.6
    right: float = 0.15
    bottom: float = 0.52
    top: float = 0.3


def drawing(height: float, margins: Margins, rows: int = 1) -> Any:
    """A new drawing of that height in inches and its axes, in rows with a common x axis."""
    figure = Drawing(figsize=(WIDTH, height))
    axes = figure.subplots(rows, 1, sharex=True)
    figure.subplots_adjust(
        left=margins.left / WIDTH,
        right=1 - margins.right / WIDTH,
        bottom=margins.bottom / height,
        top=1 - margins.top / height,
        hspace=0.35,
    )
    return figure, axes


def look(precision: str) -> tuple[str, str]:
    """The colour and the marker of a precision."""
    return _LOOKS.get(precision, (FAINT, "o"))


def inline(figure: Any, name: str) -> Markup:
    """The drawing as an `<svg>` element; `name`, of letters and digits, is unique on its page."""
    text = io.StringIO()
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # a file name may have any character; the browser has glyphs that matplotlib lacks
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(text, format="svg", transparent=True, metadata=_NO_METADATA)
    return Markup(_cleaned(text.getvalue(), name))


def _cleaned(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", svg)
    svg = re.sub(r"<defs>\s*</defs>\s*", "", svg)
    used = {match[1] or match[3] for match in _REFERENCE.findall(svg)}
    svg = _ID.sub(lambda m: f'{m[1]}{name}-{m[2]}"' if m[2] in used else "", svg)
    svg = _REFERENCE.sub(lambda m: _renamed(m, name), svg)
    svg = _FAMILY.sub("", _SHORTHAND.sub(_longhand, svg))
    svg = re.sub(r"<(\w+) >", r"<\1>", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _renamed(reference: re.Match[str], name: str) -> str:
    if reference[1]:
        return f'{reference[1]}#{name}-{reference[2]}"'
    return f"{reference[3]}#{name}-{reference[4]})"


def _longhand(font: re.Match[str]) -> str:
    weight = f"font-weight: {font[1]}; " if font[1] else ""
    return f"{weight}font-size: {font[2]}"
