"""Figures of confidence and of halt rules: wrong answers by coverage, accuracy by mean steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trm_export.report.svg import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    RED,
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
from trm_export.report.table import Figure, Table
from trm_export.report.text import interval, percent
from trm_runtime.message_text import counted

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, WIDTH - 12, 26, 176
_RULES = {"learned": (BLUE, "circle"), "settled": (GREEN, "square"), "both": (RED, "triangle")}

Shown = Mapping[str, Any]


def risk(found: Shown, precision: str) -> Figure:
    """The share of wrong answers among the most confident, for the file and its model."""
    sides = [("this file", found["file"], *look(precision))]
    if found["model"] is not None:
        sides.append(("the model, dashed", found["model"], INK, "square"))
    curves = [side["calibration"]["curve"] for _, side, _, _ in sides]
    most = max([one["risk"] for curve in curves for one in curve], default=0.0)
    limit = 100 * found["file"]["answered"] / found["file"]["calibration"]["puzzles"]
    x = Scale(0, 100, _LEFT, _RIGHT)
    y = Scale(0, max(1.0, 105 * most), _BOTTOM, _TOP)
    parts = [
        words(0, 12, "wrong answers, %, among the most confident", kind="title"),
        *grid(y, _LEFT, _RIGHT, lambda value: f"{value:g}"),
        *across(x, _BOTTOM, "puzzles that are answered, %", lambda value: f"{value:g}"),
        line(x(limit), _TOP, x(limit), _BOTTOM, FAINT, stroke_dasharray="2 2"),
        *(part for side in sides for part in _risk(side, x, y)),
        *legend(0, _BOTTOM + 48, [(name, colour, shape) for name, _, colour, shape in sides]),
    ]
    answered = found["file"]["answered"]
    wrong, total = found["file"]["wrong"], found["file"]["calibration"]["puzzles"]
    text = (
        f"At {found['abstain']:g} this file answers {answered} of {total} puzzles, {wrong} of them "
        "wrongly."
    )
    fitted = (
        ""
        if found["fitted"]
        else (" The confidence of this file is not fitted: it is the sigmoid of the halting score.")
    )
    return Figure(
        chart(_BOTTOM + 54, parts),
        f"Wrong answers among the most confident. {text}",
        "confidence",
        f"{text}{fitted}",
        "From left to right more puzzles are answered, the most confident first. At 0 no answer is "
        "wrong. Marks: 50, 80 and 95 % of the puzzles, with 95 % intervals. The thin line is what "
        "this file answers.",
    )


def _risk(side: tuple[str, Shown, str, str], x: Scale, y: Scale) -> Iterator[Markup]:
    name, found, colour, shape = side
    curve = found["calibration"]["curve"]
    d = path((x(100 * one["coverage"]), y(100 * one["risk"])) for one in curve)
    dash = "4 3" if colour == INK else ""
    yield element("path", d=d, class_=f"s-{colour}", stroke_width=2, stroke_dasharray=dash)
    for one in found["calibration"]["points"]:
        at, (low, high) = x(100 * one["coverage"]), one["interval"]
        title = f"{name}: {one['wrong']} of {one['answered']} wrong ({interval((low, high))} %)"
        top = y(min(100 * high, y.high))
        yield line(at, y(100 * low), at, top, colour, stroke_opacity="0.4")
        yield mark(at, y(100 * one["risk"]), colour, shape, title)


def halting(rules: Mapping[str, Sequence[Shown]]) -> Figure | None:
    """Exact answers against mean steps for every halt rule, the best thresholds of each."""
    fronts = {name: points for name, points in rules.items() if name in _RULES and points}
    every = [one for points in fronts.values() for one in points]
    if len(every) < 2:
        return None
    steps, shares = [one["mean_steps"] for one in every], [100 * one["exact"] for one in every]
    reach = max(max(steps) - min(steps), 0.5)
    x = Scale(min(steps), min(steps) + 1.02 * reach, _LEFT, _RIGHT)
    low, high = min(shares), max(shares)
    y = Scale(max(0.0, low - 1), min(100.0, high + 1), _BOTTOM, _TOP)
    parts = [
        words(0, 12, "puzzles solved, %, against mean steps", kind="title"),
        *grid(y, _LEFT, _RIGHT, lambda value: f"{value:g}"),
        *across(x, _BOTTOM, "mean steps", lambda value: f"{value:g}"),
        *(part for name, points in fronts.items() for part in _rule(name, points, x, y)),
        *legend(0, _BOTTOM + 48, [(name, *_RULES[name]) for name in fronts]),
    ]
    best = ", ".join(
        f"{name} {percent(points[-1]['exact'])} in {points[-1]['mean_steps']:.2f}"
        for name, points in fronts.items()
    )
    return Figure(
        chart(_BOTTOM + 54, parts),
        f"Exact answers against mean steps: {best}.",
        "halt rules",
        f"The most that each halt rule solves, and the mean steps it takes: {best}.",
        "learned: the score is above a threshold. settled: the states moved less than a threshold "
        "in the step. both: that, and the score by the threshold of the file. Each point is a "
        "threshold that no other of its rule beats.",
    )


def _rule(name: str, points: Sequence[Shown], x: Scale, y: Scale) -> Iterator[Markup]:
    colour, shape = _RULES[name]
    d = path((x(one["mean_steps"]), y(100 * one["exact"])) for one in points)
    yield element("path", d=d, class_=f"s-{colour}", stroke_width=1.2, stroke_opacity="0.6")
    stride = max(1, len(points) // 12)
    for one in [*points[:-1:stride], points[-1]]:
        title = (
            f"{name} {one['threshold']:.4g}: {percent(one['exact'])} "
            f"({interval(one['interval'])}), {one['mean_steps']:.2f} steps"
        )
        yield mark(x(one["mean_steps"]), y(100 * one["exact"]), colour, shape, title)


def confidence_table(found: Shown) -> Table:
    """Both sides: how well their confidence holds, and the risk at each coverage."""
    named = (("the model", found["model"]), ("this file", found["file"]))
    sides = {name: side for name, side in named if side is not None}
    columns = [_column(side, found["abstain"]) for side in sides.values()]
    rows = tuple((name, *(column.get(name, "-") for column in columns)) for name in columns[-1])
    alone = found["one_side"]
    note = "" if alone is None else f"Answered by one side alone: {counted(alone, 'puzzle')}. "
    note += (
        "Brier score: the mean square of confidence less outcome. Calibration error: the mean gap "
        "between confidence and share of right answers, in ten bins. In brackets 95 % intervals."
    )
    return Table("Confidence", ("", *sides), rows, note)


def _column(side: Shown, abstain: float) -> dict[str, str]:
    """The figures of one side by the names of their rows."""
    held = side["calibration"]
    low, high = held["interval"]
    risks = {
        f"wrong of the surest {percent(one['coverage'], 0)}": (
            f"{one['wrong']} of {one['answered']}, {percent(one['risk'])} "
            f"({interval(one['interval'])})"
        )
        for one in held["points"]
    }
    return {
        "Brier score": f"{held['brier']:.4f} ({low:.4f} to {high:.4f})",
        "calibration error": f"{held['error']:.4f}",
        **risks,
        f"answered at {abstain:g}": f"{side['answered']}, of them {side['wrong']} wrong",
    }
