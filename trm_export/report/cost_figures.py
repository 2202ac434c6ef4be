"""Figures of accuracy against cost of all files: megabytes, and milliseconds where measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trm_export.report.svg import (
    CHARACTER,
    FAINT,
    INK,
    WIDTH,
    Scale,
    across,
    chart,
    element,
    grid,
    legend,
    line,
    look,
    mark,
    path,
    words,
)
from trm_export.report.table import Figure
from trm_export.report.text import percent, short

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, WIDTH - 8, 26, 196
_LINE, _LONGEST = 13, 28  # units of a label's height; characters of a label
_PLACES = [(dx, dy) for dy in (13, -13, 26, -26, 39, -39) for dx in (0, -45, 45, -90, 90)]
MODEL = "model"  # in place of a precision

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class CostPoint:
    """The cost and the accuracy of one file, or of the model."""

    name: str
    precision: str
    cost: float
    exact: float
    interval: tuple[float, float]


def front(
    spots: Sequence[CostPoint], model: CostPoint | None, what: str, unit: str
) -> Figure | None:
    """Exact answers against a cost; the files of the Pareto front are joined and named."""
    if len(spots) < 2 or min(spot.cost for spot in spots) <= 0:
        return None
    best, everyone = _best(spots), [*spots, *([model] if model else [])]
    x, y = _scales(everyone)
    parts = [
        words(0, 12, f"puzzles solved, %, against {what}", kind="title"),
        *grid(y, _LEFT, _RIGHT, lambda value: f"{value:g}"),
        *across(x, _BOTTOM, f"{what}, {unit}", lambda value: f"{value:g}"),
        _stairs(best, x, y),
        *(part for spot in everyone for part in _spot(spot, x, y, unit)),
        *_labels(best, everyone, x, y),
        *legend(0, _BOTTOM + 48, _entries(everyone)),
    ]
    values = "; ".join(f"{short(s.name, 40)} {s.cost:.3g} {unit} {percent(s.exact)}" for s in spots)
    names = ", ".join(short(spot.name, 60) for spot in best)
    return Figure(
        chart(_BOTTOM + 54, parts),
        f"Exact answers against {what}: {values}.",
        f"accuracy against {what}",
        f"Accuracy against {what}. No other file is both better and cheaper than: {names}.",
        "Only these are named in the drawing, where there is room.",
    )


def _best(spots: Sequence[CostPoint]) -> list[CostPoint]:
    """The Pareto front, from cheap to expensive."""
    best: list[CostPoint] = []
    for spot in sorted(spots, key=lambda s: (s.cost, -s.exact, s.name)):
        if not best or spot.exact > best[-1].exact:
            best.append(spot)
    return best


def _scales(spots: Sequence[CostPoint]) -> tuple[Scale, Scale]:
    costs = [spot.cost for spot in spots]
    low, high = min(s.interval[0] for s in spots), max(s.interval[1] for s in spots)
    return (
        Scale(min(costs) / 1.4, max(costs) * 1.4, _LEFT, _RIGHT, log=True),
        Scale(max(0.0, low * 100 - 0.5), min(100.0, high * 100 + 0.5), _BOTTOM, _TOP),
    )


def _stairs(best: Sequence[CostPoint], x: Scale, y: Scale) -> Markup:
    points = []
    for before, spot in zip([None, *best], best, strict=False):
        points += [(x(spot.cost), y(before.exact * 100))] if before is not None else []
        points.append((x(spot.cost), y(spot.exact * 100)))
    return element("path", d=path(points), class_="s-faint", stroke_dasharray="2 2")


def _spot(spot: CostPoint, x: Scale, y: Scale, unit: str) -> Iterator[Markup]:
    colour, shape = _look(spot)
    low, high = (y(end * 100) for end in spot.interval)
    ends = f"{spot.interval[0] * 100:.1f} to {spot.interval[1] * 100:.1f}"
    title = f"{spot.name}: {percent(spot.exact)} ({ends}), {spot.cost:.3g} {unit}"
    yield line(x(spot.cost), low, x(spot.cost), high, colour, stroke_opacity="0.4")
    yield mark(x(spot.cost), y(spot.exact * 100), colour, shape, title)


def _look(spot: CostPoint) -> tuple[str, str]:
    return (INK, "square") if spot.precision == MODEL else look(spot.precision)


def _entries(spots: Sequence[CostPoint]) -> list[tuple[str, str, str]]:
    kinds = {spot.precision: _look(spot) for spot in spots}
    return [(name, *kinds[name]) for name in sorted(kinds)]


def _labels(
    best: Sequence[CostPoint], everyone: Sequence[CostPoint], x: Scale, y: Scale
) -> Iterator[Markup]:
    """The name of every file of the front near its point, where it covers nothing else."""
    at = [(x(s.cost), y(s.exact * 100)) for s in everyone]
    taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in at]
    for spot in best:
        name = short(spot.name, _LONGEST)
        px, py = x(spot.cost), y(spot.exact * 100)
        box = _place(px, py, len(name) * CHARACTER / 2, taken)
        if box is None:
            continue
        taken.append(box)
        middle, base = (box[0] + box[2]) / 2, box[3] - 3
        if abs(base - 3 - py) > 2 * _LINE - 1:
            yield line(px, py, middle, box[1] if box[1] > py else box[3], FAINT)
        yield words(middle, base, name, "middle", "label")


def _place(x: float, y: float, half: float, taken: Sequence[Box]) -> Box | None:
    """The first free place of a label; None where there is none."""
    for dx, dy in _PLACES:
        middle = min(max(x + dx, _LEFT + half), _RIGHT - half)
        box = (middle - half, y + dy - _LINE / 2, middle + half, y + dy + _LINE / 2)
        inside = box[0] >= _LEFT and box[1] >= _TOP and box[3] <= _BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            return box
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
