"""Figures of decisions: halting steps, halting margins, accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trm_export.report.svg import (
    BLUE,
    FAINT,
    INK,
    ON_FILL,
    ORANGE,
    RED,
    Margins,
    drawing,
    house_style,
    inline,
    look,
)
from trm_export.report.table import Figure
from trm_export.report.text import percent, short
from trm_runtime.message_text import counted


def heatmap(halting: Mapping[str, Any], key: str) -> Figure:
    """Puzzles by the halting steps of model and file; colour by the logarithm of the count."""
    matrix = halting["matrix"]
    steps = [t for t in range(len(matrix)) if any(matrix[t]) or any(row[t] for row in matrix)]
    most = max(max(row) for row in matrix)
    with house_style():
        figure, axes = drawing(0.85 + max(0.3 * len(steps), 1.2), Margins())
        axes.set_xlim(0, len(steps))
        axes.set_ylim(len(steps), 0)
        for y, expected in enumerate(steps):
            axes.add_patch(_square(y, y, facecolor="none", edgecolor=FAINT, linewidth=0.8))
            for x, got in enumerate(steps):
                if count := matrix[expected][got]:
                    _count(axes, x, y, count, most)
        middle = [i + 0.5 for i in range(len(steps))]
        axes.set_xticks(middle, [str(t + 1) for t in steps])
        axes.set_yticks(middle, [str(t + 1) for t in steps])
        axes.tick_params(length=0)
        axes.set(xlabel="the file halts at step", ylabel="the model halts at step")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title("halting steps: puzzles")
        svg = inline(figure, key)
    total = sum(map(sum, matrix))
    equal = sum(matrix[t][t] for t in range(len(matrix)))
    later = sum(sum(row[t + 1 :]) for t, row in enumerate(matrix))
    same = f"{equal} of {counted(total, 'puzzle')} halt at the same step"
    return Figure(
        svg,
        f"Halting steps of model and file: {same}, on the diagonal.",
        "halting steps",
        f"{same}, {later} later than the model, {total - equal - later} earlier.",
        "Blue, on the diagonal: the same step. Red: above it the file halts later than the model, "
        "below it earlier. Darker means more puzzles (logarithmic). Steps at which no puzzle halts "
        "are left out.",
    )


def _square(x: int, y: int, **options: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, **options)


def _count(axes: Any, x: int, y: int, count: int, most: int) -> None:
    strength = 0.25 + 0.75 * math.log1p(count) / math.log1p(most)
    colour = BLUE if x == y else RED
    axes.add_patch(_square(x, y, facecolor=colour, alpha=round(strength, 3), linewidth=0))
    shown = ON_FILL if strength > 0.72 else INK
    axes.text(x + 0.5, y + 0.5, count, ha="center", va="center", fontsize=9, color=shown)


def margins(result: Mapping[str, Any], key: str) -> Figure:
    """How close the model's halting scores are to the threshold, and which decisions differ."""
    halting = result["halting"]
    edges = halting["margin_edges"]
    names = [f"<{edges[1]:g}", *[f"{e:g}" for e in edges[1:]]]
    flips = [d for d in result["decisions"]["differences"] if d["kind"] == "halting step"]
    with house_style():
        figure, axes = drawing(3.3 if flips else 2.3, Margins(left=0.1), 2 if flips else 1)
        top, *below = axes if flips else [axes]
        top.set_title("puzzles by the model's halting margin")
        _bars(top, halting["margins"], BLUE, [0] * len(names))
        if flips:
            (lower,) = below
            near, real = (_binned(flips, edges, tie) for tie in (True, False))
            _bars(lower, near, ORANGE, [0] * len(names))
            _bars(lower, real, RED, near)
            lower.set_title("other halting steps: near-ties (orange), real (red)")
        last = below[0] if flips else top
        last.set_xticks(range(len(names)), names)
        last.set_xlabel("margin to the threshold, logits, from")
        svg = inline(figure, key)
    ties = counted(halting["near_flips"], "near-tie")
    differences = f"{ties} and {counted(halting['real_flips'], 'real difference')}"
    return Figure(
        svg,
        f"Histogram of halting margins; of the halting steps that differ: {differences}.",
        "halting steps that differ",
        f"{differences}. A difference is a near-tie if the margin of the model, "
        "|score - threshold| at the earlier of the two steps, is at most "
        f"{result['decisions']['score_tolerance']:.2g}.",
        "Top: the margin at the step where the model halts.",
    )


def _bars(axes: Any, counts: Sequence[int], colour: str, bottom: Sequence[int]) -> None:
    axes.bar(range(len(counts)), counts, 0.8, bottom=bottom, color=colour, linewidth=0)
    for x, (count, base) in enumerate(zip(counts, bottom, strict=True)):
        if count:
            axes.annotate(count, (x, base + count), (0, 2), textcoords="offset points",
                          ha="center", fontsize=9)  # fmt: skip
    axes.set_ylim(0, max(1, max(axes.get_ylim()[1], 1.25 * max(counts, default=1))))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _binned(flips: Sequence[Mapping[str, Any]], edges: Sequence[float], near: bool) -> list[int]:
    counts = [0] * len(edges)
    for flip in flips:
        if flip["near_tie"] is near:
            margin = math.inf if flip["margin"] is None else flip["margin"]
            counts[max(sum(edge <= margin for edge in edges) - 1, 0)] += 1
    return counts


def accuracy(rows: Sequence[tuple[str, str, Mapping[str, Any]]], n: int, key: str) -> Figure:
    """Exact answers of several sides (name, precision, score), with intervals."""
    with house_style():
        figure, axes = drawing(0.7 + 0.44 * len(rows), Margins(left=0.1, right=0.4, bottom=0.35))
        for y, (name, precision, score) in enumerate(rows):
            low, high = score["interval"]
            value, colour = score["exact"], look(precision)[0]
            axes.barh(y, value * 100, 0.36, color=colour, alpha=0.85, linewidth=0)
            axes.hlines(y, low * 100, high * 100, color=INK, linewidth=1.4)
            axes.vlines([low * 100, high * 100], y - 0.1, y + 0.1, color=INK, linewidth=1.4)
            axes.text(0, y - 0.36, short(name, 38), va="center", fontsize=9)
            axes.text(100, y - 0.36, percent(value), va="center", ha="right", fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.65)
        axes.set_xlim(0, 100)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
        axes.set_title("puzzles solved")
        svg = inline(figure, key)
    values = "; ".join(f"{short(name, 40)} {percent(score['exact'])}" for name, _, score in rows)
    return Figure(
        svg,
        f"Exact answers: {values}.",
        "accuracy",
        f"Puzzles answered exactly, n = {n}.",
        "The line is the 95 % interval (Wilson).",
    )
