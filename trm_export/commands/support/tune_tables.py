"""A tuned threshold as text: the main points, and the curve; fits 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trm_export.commands.support.console import Row, printable, remark, show_columns, stdout

if TYPE_CHECKING:
    from trm_export.api.tuning import Point, TuneResult, Tuning

_SHOWN = 10  # points of the front
_WIDTH, _HEIGHT = 60, 12  # characters of the plot


def show_tuning(result: TuneResult) -> None:
    """Print the table and the plot to stdout, and the choice to stderr."""
    from rich.text import Text

    found = result.tuning
    every = {
        "present": found.present,
        "the model's own": found.trained,
        "all steps": found.all_steps,
        "chosen": found.chosen,
    }
    named = {name: point for name, point in every.items() if point is not None}
    if found.trained == found.present:
        del named["the model's own"]
    rows = [_row(point, found, named) for point in _shown(found, list(named.values()))]
    title = printable(result.title)
    heads = ("", "front", "threshold", result.judge, "95 % interval", "mean steps")
    show_columns(title, heads, rows, ("", "front"))
    if len(found.front) > 2:
        stdout().print(Text(plot(found)))
    _show_settling(found, result.judge)
    remark(result.summary)


def _show_settling(found: Tuning, judge: str) -> None:
    """The two rules of movement beside the one that was chosen, the fewest steps first."""
    settling = found.settling
    if settling is None:
        return
    rows = [("learned, chosen", *_cells(found.chosen))]
    named = {"settled": settling.chosen, "both": settling.chosen_both}
    for rule, front in settling.fronts.items():
        chosen = named[rule]
        points = {*_spread(front), *(() if chosen is None else (chosen,))}
        for point in sorted(points, key=lambda p: (p.mean_steps, p.exact)):
            name = f"{rule}, chosen" if point == chosen else rule
            rows.append((name, *_cells(point)))
    heads = ("rule", "threshold", judge, "95 % interval", "mean steps")
    show_columns("By how far states move in a step", heads, rows, ("rule",))


def _spread(points: Sequence[Point]) -> list[Point]:
    """At most so many of them, evenly spread, with the last."""
    stride = max(1, -(-len(points) // _SHOWN))
    return [*points[::stride], points[-1]]


def _shown(found: Tuning, named: Sequence[Point]) -> list[Point]:
    """A few points of the front, evenly spread, and the named ones; the fewest steps first."""
    points = {*_spread(found.front), *named}
    return sorted(points, key=lambda point: (point.mean_steps, point.threshold))


def _row(point: Point, found: Tuning, named: dict[str, Point]) -> Row:
    names = ", ".join(name for name, other in named.items() if other == point)
    return (names, "yes" if point in found.front else "no", *_cells(point))


def _cells(point: Point) -> Row:
    low, high = point.interval
    return (
        f"{point.threshold:.4g}",
        f"{point.exact:.2%}",
        f"{low * 100:.1f} to {high * 100:.1f} %",
        f"{point.mean_steps:.2f}",
    )


def plot(found: Tuning) -> str:
    """Exact share over mean steps in plain characters; later marks cover earlier ones.

    It ends at the last useful number of steps: most puzzles that halt late are never solved.
    """
    layers: list[tuple[str, Sequence[Point]]] = [
        (".", found.points), ("o", found.front), ("P", [found.present]), ("C", [found.chosen]),
    ]  # fmt: skip
    ends = [point.mean_steps for point in (*found.front, found.present, found.chosen)]
    left, right = _span(ends)
    drawn = [point for point in found.points if point.mean_steps <= right]
    low, high = _span([point.exact for point in drawn])
    canvas = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for mark, points in layers:
        for point in set(points).intersection(drawn):
            column = round((point.mean_steps - left) / (right - left) * (_WIDTH - 1))
            row = round((high - point.exact) / (high - low) * (_HEIGHT - 1))
            canvas[row][column] = mark
    labels = [""] * _HEIGHT
    labels[0], labels[-1] = f"{high:.1%}", f"{low:.1%}"
    lines = [f"{label:>7} |{''.join(row)}" for label, row in zip(labels, canvas, strict=True)]
    scale = f"{left:<.2f}{'mean steps':^{_WIDTH - 10}}{right:>.2f}"
    legend = "o front   . other thresholds   P present   C chosen"
    axis = f"{'':>7} +{'-' * _WIDTH}"
    return "\n".join(["", *lines, axis, f"{'':>9}{scale}", f"{'':>9}{legend}"])


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values, never empty."""
    low, high = min(values), max(values)
    return low, high if high > low else low + 1.0
