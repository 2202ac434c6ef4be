"""Figures of decisions: halting steps, halting margins, differences of accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from trm_export.report.svg import (
    BLUE,
    FAINT,
    INK,
    ON_FILL,
    ORANGE,
    RED,
    WIDTH,
    Scale,
    across,
    chart,
    element,
    legend,
    line,
    look,
    mark,
    words,
)
from trm_export.report.table import Figure
from trm_export.report.text import brief, points, short, signed
from trm_runtime.message_text import counted

_ROW = 30  # units a file
_BARS = 70  # units of the height of a histogram


@dataclass(frozen=True)
class Difference:
    """How many more puzzles a file solves than its model, in percentage points."""

    name: str
    precision: str
    found: float
    interval: tuple[float, float]
    least: float | None  # that its gate allows


def differences(files: Sequence[Difference], n: int) -> Figure:
    """A dot with its interval for every file, and the model as a line."""
    ends = [end for file in files for end in (*file.interval, file.least or 0.0)]
    reach = max(0.5, *map(abs, ends)) * 1.05
    low, high = min(*ends, -reach / 4), max(*ends, reach / 4)
    x, bottom = Scale(low, high, 18, WIDTH - 18), 24 + _ROW * len(files)
    parts = [
        words(0, 12, "puzzles solved: points from the model", kind="title"),
        line(x(0), 22, x(0), bottom, INK),
        *(part for i, file in enumerate(files) for part in _row(file, x, 36 + i * _ROW)),
        *across(x, bottom, "the model is at 0; percentage points", lambda v: signed(v, _places(x))),
    ]
    gated = any(file.least is not None for file in files)
    values = "; ".join(f"{short(f.name, 40)} {points(f.found, f.interval)}" for f in files)
    return Figure(
        chart(bottom + 34, parts),
        f"Exact answers, in percentage points from the model: {values}.",
        "accuracy",
        f"Puzzles answered exactly, in percentage points from the model, n = {n}.",
        "The line is the 95 % interval of the paired difference: where it crosses the model's, "
        "the puzzles do not show which of the two is better."
        + (" The short red line is the gate: no dot may be left of it." if gated else ""),
    )


def _places(scale: Scale) -> int:
    return 0 if scale.ticks[1] - scale.ticks[0] >= 0.999 else 1


def _row(file: Difference, x: Scale, y: float) -> Iterator[Markup]:
    colour, shape = look(file.precision)
    low, high = map(x, file.interval)
    shown = points(file.found, file.interval)
    yield words(4, y, short(file.name, 34), kind="label")
    yield words(WIDTH - 4, y, shown, "end", "label")
    yield line(low, y + 9, high, y + 9, colour)
    yield from (line(end, y + 6, end, y + 12, colour) for end in (low, high))
    if file.least is not None:
        yield line(x(file.least), y + 4, x(file.least), y + 14, RED, stroke_width=2.5)
    yield mark(x(file.found), y + 9, colour, shape, f"{file.name}: {shown} points")


def heatmap(halting: Mapping[str, Any]) -> Figure:
    """Puzzles by the halting steps of model and file; colour by the logarithm of the count."""
    matrix = halting["matrix"]
    steps = [t for t in range(len(matrix)) if any(matrix[t]) or any(row[t] for row in matrix)]
    most = max(max(row) for row in matrix)
    side = min(36.0, (WIDTH - 40) / max(len(steps), 1))
    parts = [words(0, 12, "halting steps: puzzles", kind="title")]
    for y, expected in enumerate(steps):
        middle = 40 + (y + 0.5) * side
        parts.append(words(middle, 30, expected + 1, "middle", "tick"))
        parts.append(words(34, 36 + (y + 0.5) * side + 4, expected + 1, "end", "tick"))
        for x, got in enumerate(steps):
            corner = 40 + x * side, 36 + y * side
            parts += _cell(corner, side, (expected, got), matrix[expected][got], most)
    bottom, halfway = 36 + side * len(steps), side * len(steps) / 2
    turned = f"translate(10 {36 + halfway:.0f}) rotate(-90)"
    parts.append(words(40 + halfway, bottom + 15, "the file halts at step", "middle"))
    parts.append(element("g", [words(0, 0, "the model halts", "middle")], transform=turned))
    total, equal = sum(map(sum, matrix)), sum(matrix[t][t] for t in range(len(matrix)))
    later = sum(sum(row[t + 1 :]) for t, row in enumerate(matrix))
    same = f"{equal} of {counted(total, 'puzzle')} halt at the same step"
    return Figure(
        chart(bottom + 20, parts),
        f"Halting steps of model and file: {same}, on the diagonal.",
        "halting steps",
        f"{same}, {later} later than the model, {total - equal - later} earlier.",
        "Blue, on the diagonal: the same step. Red: above it the file halts later than the model, "
        "below it earlier. Darker means more puzzles (logarithmic). Steps at which no puzzle halts "
        "are left out.",
    )


def _cell(
    corner: tuple[float, float], side: float, at: tuple[int, int], count: int, most: int
) -> Iterator[Markup]:
    (x, y), (expected, got) = corner, at
    box = {"x": x + 0.7, "y": y + 0.7, "width": side - 1.4, "height": side - 1.4}
    if expected == got:
        yield element("rect", class_="s-faint", **box)
    if not count:
        return
    strength = 0.25 + 0.75 * math.log1p(count) / math.log1p(most)
    title = f"model step {expected + 1}, file step {got + 1}: {counted(count, 'puzzle')}"
    kind = f"f-{BLUE if expected == got else RED}"
    yield element("rect", (), title, class_=kind, fill_opacity=f"{strength:.2f}", **box)
    text, colour = brief(count), ON_FILL if strength > 0.72 else INK
    size = min(10.0, (side - 3) / (0.6 * len(text)))
    yield words(
        x + side / 2, y + side / 2 + size * 0.35, text, "middle", f"f-{colour} through", size
    )


def margins(result: Mapping[str, Any]) -> Figure:
    """How close the model's halting scores are to the threshold, and which decisions differ."""
    halting = result["halting"]
    edges = halting["margin_edges"]
    flips = [d for d in result["decisions"]["differences"] if d["kind"] == "halting step"]
    nothing = [0] * len(edges)
    parts = [
        words(0, 12, "puzzles by the model's halting margin", kind="title"),
        *_histogram([(halting["margins"], "", BLUE)], 34),
    ]
    bottom = 34.0 + _BARS
    if flips:
        kinds = ((True, "near-tie", ORANGE), (False, "real difference", RED))
        stacked = [(_binned(flips, edges, tie), name, colour) for tie, name, colour in kinds]
        parts.append(words(0, bottom + 34, "halting at another step", kind="title"))
        parts += legend(160, bottom + 34, [(name, colour, "square") for _, name, colour in stacked])
        bottom += 56 + _BARS
        parts += _histogram(stacked, bottom - _BARS)
    for i, name in enumerate([f"<{edges[1]:g}", *[f"{e:g}" for e in edges[1:]]]):
        parts.append(words((i + 0.5) * WIDTH / len(nothing), bottom + 14, name, "middle", "tick"))
    label = "margin to the threshold, logits, from"
    parts.append(words(WIDTH / 2, bottom + 29, label, "middle"))
    ties = counted(halting["near_flips"], "near-tie")
    found = f"{ties} and {counted(halting['real_flips'], 'real difference')}"
    return Figure(
        chart(bottom + 34, parts),
        f"Histogram of halting margins; of the halting steps that differ: {found}.",
        "halting steps that differ",
        f"{found}. A difference is a near-tie if the margin of the model, "
        "|score - threshold| at the earlier of the two steps, is at most "
        f"{result['decisions']['score_tolerance']:.2g}.",
        "Top: the margin at the step where the model halts.",
    )


def _histogram(layers: Sequence[tuple[Sequence[int], str, str]], top: float) -> Iterator[Markup]:
    """Bars side by side from `top` down, one colour on the other, and their sums above."""
    sums = [sum(counts) for counts in zip(*(layer[0] for layer in layers), strict=True)]
    most, wide, floor = max(1, *sums), WIDTH / len(sums), top + _BARS
    yield line(0, floor, WIDTH, floor, FAINT)
    for i, total in enumerate(sums):
        base = floor
        for counts, name, colour in layers:
            height = counts[i] / most * (_BARS - 2)
            base -= height
            title = f"{counted(counts[i], name or 'puzzle')}"
            if counts[i]:
                yield element("rect", (), title, x=(i + 0.1) * wide, y=base, width=wide * 0.8,
                              height=height, class_=f"f-{colour}")  # fmt: skip
        if total:
            yield words((i + 0.5) * wide, base - 4, brief(total), "middle")


def _binned(flips: Sequence[Mapping[str, Any]], edges: Sequence[float], near: bool) -> list[int]:
    counts = [0] * len(edges)
    for flip in flips:
        if flip["near_tie"] is near:
            margin = math.inf if flip["margin"] is None else flip["margin"]
            counts[max(sum(edge <= margin for edge in edges) - 1, 0)] += 1
    return counts
