"""Small charts as SVG elements inside an HTML page: shapes, text, marks and axes.

Coordinates are user units, WIDTH to a chart, so that text of FONT units can be read on a phone.
Colours are names of variables of the page's style sheet, which has a light and a dark value of
each. Text that is given is escaped, and so are characters that do not print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from trm_export.report.text import clean

INK, FAINT, LINE, ON_FILL = "ink", "faint", "line", "on-fill"
BLUE, RED, ORANGE, GREEN, PURPLE = "blue", "red", "orange", "green", "purple"
_LOOKS = {
    "fp32": (BLUE, "circle"), "fp16": (GREEN, "square"), "int8": (RED, "triangle"),
    "int8-static": (PURPLE, "diamond"), "int4": (ORANGE, "square"),
}  # fmt: skip
_SHAPES = {
    "square": "M{0} {1}h8v8h-8z",
    "triangle": "M{0} {2}h8l-4 -8z",
    "diamond": "M{0} {3}l5 -5 5 5 -5 5z",
}

WIDTH = 360
FONT = 11
CHARACTER = 6.0  # of FONT: about the widest mean of a line

Numbers = Sequence[float]


def number(value: float) -> str:
    """A coordinate with at most one decimal place."""
    return f"{value:.1f}".removesuffix(".0")


def element(
    name: str, inside: Iterable[str] = (), title: str = "", /, **attributes: object
) -> Markup:
    """An element; numbers are rounded, `_` at the end of a name is dropped, elsewhere it is `-`.

    `title` is shown where a pointer rests on the element.
    """
    texts = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value not in ("", None)
    )
    shown = Markup("<title>{}</title>").format(clean(title)) if title else ""
    content = shown + "".join(map(str, inside))
    start = f"<{name}{''.join(texts)}"
    return Markup(f"{start}>{content}</{name}>" if content else f"{start}/>")


def _text(value: object) -> object:
    return number(value) if isinstance(value, int | float) else value


def chart(height: float, parts: Iterable[str]) -> Markup:
    """The complete drawing, as high as that."""
    return element("svg", parts, class_="chart", viewBox=f"0 0 {WIDTH} {number(height)}")


def words(
    x: float, y: float, text: object, anchor: str = "", kind: str = "", size: float = 0
) -> Markup:
    """One line of text on a base line; `anchor` is `middle` or `end`, `kind` a class."""
    style = f"font-size:{number(size)}px" if size else ""
    inside = [escape(clean(text))]
    return element("text", inside, x=x, y=y, text_anchor=anchor, class_=kind, style=style)


def line(x: float, y: float, to_x: float, to_y: float, colour: str, **more: object) -> Markup:
    """A straight line."""
    return element("path", d=path([(x, y), (to_x, to_y)]), class_=f"s-{colour}", **more)


def path(points: Iterable[tuple[float, float]]) -> str:
    """Straight lines through the points, with a gap where one is not finite."""
    found, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            found.append(f"{pen}{number(x)} {number(y)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(found)


def look(precision: str) -> tuple[str, str]:
    """The colour and the marker of a precision."""
    return _LOOKS.get(precision, (FAINT, "circle"))


def mark(x: float, y: float, colour: str, shape: str = "circle", title: str = "") -> Markup:
    """A marker around a point."""
    kind = f"f-{colour}"
    if shape == "circle":
        return element("circle", (), title, cx=x, cy=y, r=4, class_=kind)
    left = x - (5 if shape == "diamond" else 4)
    corners = _SHAPES[shape].format(*map(number, (left, y - 4, y + 4, y)))
    return element("path", (), title, d=corners, class_=kind)


def legend(x: float, y: float, entries: Iterable[tuple[str, str, str]]) -> Iterator[Markup]:
    """(name, colour, marker) side by side on one line."""
    for name, colour, shape in entries:
        yield mark(x + 5, y - 4, colour, shape)
        yield words(x + 13, y, name)
        x += 25 + CHARACTER * len(name)


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` along an axis from `start` to `end`, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of a value; NaN for one without a logarithm."""
        low, high = self._of(self.low), self._of(self.high)
        return self.start + (self._of(value) - low) / (high - low) * (self.end - self.start)

    def _of(self, value: float) -> float:
        if not self.log:
            return value
        return math.log10(value) if value > 0 else math.nan

    @property
    def ticks(self) -> list[float]:
        """Round values inside, about five of them."""
        return self._powers() if self.log else self._steps()

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]

    def _powers(self) -> list[float]:
        whole = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            found = [m * 10.0**e for e in whole for m in factors]
            inside = [v for v in found if self.low * 0.999 <= v <= self.high * 1.001]
            if len(inside) >= 3:
                break
        return inside[:: -(-len(inside) // 7)] if inside else [self.low]


def across(scale: Scale, y: float, label: str, shown: Callable[[float], str]) -> Iterator[Markup]:
    """A horizontal axis: its ticks at `y`, with the label below."""
    yield line(scale.start, y, scale.end, y, FAINT)
    for value in scale.ticks:
        yield words(scale(value), y + 14, shown(value), "middle", "tick")
    yield words((scale.start + scale.end) / 2, y + 29, label, "middle")


def grid(
    scale: Scale, left: float, right: float, shown: Callable[[float], str]
) -> Iterator[Markup]:
    """Horizontal lines of a vertical axis, with their values at the left."""
    for value in scale.ticks:
        yield line(left, scale(value), right, scale(value), LINE)
        yield words(left - 5, scale(value) + 4, shown(value), "end", "tick")
