"""Figures of accuracy against cost of all files: megabytes, and milliseconds where measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trm_export.report.svg import FAINT, INK, Margins, drawing, house_style, inline, look
from trm_export.report.table import Figure
from trm_export.report.text import percent, short

_CHARACTER, _LINE = 5.0, 12.0  # points: about the size of a label's text
_PLACES = [(dx, dy) for dy in (11, -17, 23, -29, 35, -41, 47, -53, 59) for dx in (0, -40, 40)]


@dataclass(frozen=True)
class CostPoint:
    """The cost and the accuracy of one file."""

    name: str
    precision: str
    cost: float
    exact: float
    interval: tuple[float, float]


def front(spots: Sequence[CostPoint], what: str, unit: str, key: str) -> Figure | None:
    """Exact answers against a cost; the line joins the files of the Pareto front."""
    if len(spots) < 2 or min(spot.cost for spot in spots) <= 0:
        return None
    best = _best(spots)
    with house_style():
        figure, axes = drawing(3.6, Margins())
        axes.set_xscale("log")
        axes.plot([s.cost for s in best], [s.exact * 100 for s in best], color=FAINT,
                  linewidth=1, linestyle=":", drawstyle="steps-post")  # fmt: skip
        for spot in spots:
            colour, marker = look(spot.precision)
            low, high = (end * 100 for end in spot.interval)
            axes.vlines(spot.cost, low, high, color=colour, linewidth=1, alpha=0.4)
            axes.plot(spot.cost, spot.exact * 100, marker, color=colour, markersize=7)
        _frame(axes, spots)
        axes.set_xlabel(f"{what}, {unit}")
        axes.set_title("puzzles solved, %")
        _label(axes, spots)
        svg = inline(figure, key)
    values = "; ".join(f"{short(s.name, 40)} {s.cost:.3g} {unit} {percent(s.exact)}" for s in spots)
    names = ", ".join(short(spot.name, 60) for spot in best)
    return Figure(
        svg,
        f"Exact answers against {what}: {values}.",
        f"accuracy against {what}",
        f"Accuracy against {what}. No other file is both better and cheaper than: {names}.",
    )


def _best(spots: Sequence[CostPoint]) -> list[CostPoint]:
    """The Pareto front, from cheap to expensive."""
    best: list[CostPoint] = []
    for spot in sorted(spots, key=lambda s: (s.cost, -s.exact, s.name)):
        if not best or spot.exact > best[-1].exact:
            best.append(spot)
    return best


def _frame(axes: Any, spots: Sequence[CostPoint]) -> None:
    costs = [spot.cost for spot in spots]
    axes.set_xlim(min(costs) / 1.5, max(costs) * 1.5)
    low, high = min(s.interval[0] for s in spots), max(s.interval[1] for s in spots)
    axes.set_ylim(max(0.0, low * 100 - 2), min(100.5, high * 100 + 2))
    ticks = [m * 10.0**e for e in range(-4, 7) for m in (1, 1.5, 2, 3, 5, 7)]
    visible = [t for t in ticks if min(costs) / 1.5 <= t <= max(costs) * 1.5]
    axes.set_xticks(visible, [f"{t:g}" for t in visible])
    axes.xaxis.set_minor_formatter(lambda value, position: "")
    axes.minorticks_off()
    axes.grid(axis="y")


def _label(axes: Any, spots: Sequence[CostPoint]) -> None:
    """Every name near its point, where it covers no other name and no point."""
    scale = 72.0 / axes.figure.dpi
    bounds = [edge * scale for edge in axes.get_window_extent().extents]
    at = [axes.transData.transform((s.cost, s.exact * 100)) * scale for s in spots]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    for spot, (x, y) in sorted(zip(spots, at, strict=True), key=lambda pair: tuple(pair[1])):
        name = short(spot.name, 26)
        dx, dy = _place(x, y, len(name) * _CHARACTER / 2, bounds, taken)
        leader = {"arrowstyle": "-", "color": FAINT, "lw": 0.6} if abs(dy) > 17 else None
        axes.annotate(
            name, (spot.cost, spot.exact * 100), (dx, dy), textcoords="offset points",
            ha="center", va="center", fontsize=9, color=INK, arrowprops=leader,
        )  # fmt: skip


def _place(
    x: float,
    y: float,
    half: float,
    bounds: Sequence[float],
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float]:
    """The offset of a label, which is taken from then on; all in points."""
    left, bottom, right, top = bounds
    for dx, dy in _PLACES:
        middle = min(max(x + dx, left + half), right - half)
        box = (middle - half, y + dy - _LINE / 2, middle + half, y + dy + _LINE / 2)
        inside = box[1] >= bottom and box[3] <= top
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return middle - x, float(dy)
    return 0.0, float(_PLACES[0][1])


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
