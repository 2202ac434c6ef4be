"""Figures over the steps: drift against the noise floor, and clipping."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trm_export.report.svg import (
    BLUE,
    FAINT,
    GREEN,
    PURPLE,
    RED,
    WIDTH,
    Scale,
    across,
    chart,
    element,
    grid,
    line,
    path,
    words,
)
from trm_export.report.table import Figure
from trm_export.report.text import ending, power_of_ten, short, small
from trm_runtime.message_text import counted

OUTPUTS = ("logits", "q_halt_logits", "q_continue_logits")
Steps = Sequence[Mapping[str, Any]]
Curve = tuple[str, list[float], str, str]
"""A name, the value of every step, a colour, and the dashes of its line."""

_GROUPS = {"settled": "", "unsettled": "5 3"}
_LEFT, _TOP, _BOTTOM = 40, 22, 200
_NAMES = 100  # units at the right, for the names of the lines
_APART = 13  # units between names
_LARGEST = 4  # clipped tensors that are named


def drift(result: Mapping[str, Any], tensor: str) -> Figure | None:
    """Forced and free relative L2 of a tensor over the steps, with the floor of the control."""
    lines = [
        (f"{kind}, {group}", values, colour, dash)
        for kind, steps, colour in (
            ("free", result["free"], RED), ("forced", result["forced_steps"], BLUE)
        )
        for group, dash in _GROUPS.items()
        if (values := curve(steps, tensor, group))
    ]  # fmt: skip
    if not lines:
        return None
    if floor := curve(result["floor"], tensor, "all"):
        lines.append(("noise floor", floor, FAINT, "2 2"))
    if gate := result["gates"]["relative_l2"]:
        lines.append((f"gate {small(gate)}", [gate] * len(lines[0][1]), FAINT, ""))
    x, y = _scales(lines, WIDTH - _NAMES)
    parts = [
        words(0, 12, f"{short(tensor, 24)}: relative L2 error", kind="title"),
        *_axes(x, y),
        *(_drawn(one, x, y) for one in lines),
        *_label_ends(lines, y),
    ]
    ends = "; ".join(f"{name} {small(v[-1])}" for name, v, *_ in lines if not math.isnan(v[-1]))
    label = f"Relative L2 error of {short(tensor, 40)} over the steps; at the last: {ends}."
    svg = chart(_BOTTOM + 34, parts)
    return Figure(svg, label, f"drift of {short(tensor, 40)}", _growth(result, tensor))


def curve(steps: Steps, tensor: str, group: str) -> list[float]:
    """The relative L2 of a group step by step, NaN where it cannot be drawn; [] without any."""
    sizes = [step["tensors"][tensor][group] for step in steps if tensor in step["tensors"]]
    if not sizes or any(size is None for size in sizes):
        return []
    values = [size["relative_l2"] or math.nan for size in sizes]
    return [] if all(map(math.isnan, values)) else values


def states(result: Mapping[str, Any]) -> list[str]:
    """The tensors whose drift is drawn: the logits, and the first state."""
    names = list(result["free"][0]["tensors"]) if result["free"] else []
    return ["logits", *[name for name in names if name not in OUTPUTS][:1]] if names else []


def clipping(shares: Mapping[str, Sequence[float]]) -> Figure | None:
    """The share of clipped values of every calibrated tensor over the steps."""
    by_size = sorted(shares.items(), key=lambda item: (-max(item[1], default=0.0), item[0]))
    drawn = [(name, [v or math.nan for v in values]) for name, values in by_size if any(values)]
    if not drawn:
        return None
    colours = (RED, BLUE, GREEN, PURPLE)
    lines: list[Curve] = [
        (name, values, colours[i] if i < _LARGEST else FAINT, "")
        for i, (name, values) in enumerate(drawn)
    ]
    x, y = _scales(lines, WIDTH - 6)
    parts = [
        words(0, 12, "share of values clipped", kind="title"),
        *_axes(x, y),
        *(_drawn(one, x, y) for one in reversed(lines)),
    ]
    for i, (name, _, colour, _) in enumerate(lines[:_LARGEST]):
        base = _BOTTOM + 48 + i * 15
        parts.append(line(4, base - 4, 22, base - 4, colour, stroke_width=2.5))
        parts.append(words(28, base, f"{i + 1}. {ending(name, 52)}", kind="label"))
    name, values = by_size[0][0], list(by_size[0][1])
    worst = max(values)
    most = f"At most {worst * 100:.2g} % of {ending(name, 70)}, at step {values.index(worst) + 1}"
    return Figure(
        chart(_BOTTOM + 38 + 15 * min(len(lines), _LARGEST), parts),
        f"Clipped values by step. {most}.",
        "values clipped",
        f"Values outside the calibrated range, on held-out puzzles. {most}; "
        f"{counted(len(shares), 'tensor')} calibrated.",
        "The largest shares have a name.",
    )


def _scales(lines: Sequence[Curve], right: float) -> tuple[Scale, Scale]:
    """Steps, and powers of ten around the values, at least one of them whole."""
    values = [v for _, found, *_ in lines for v in found if math.isfinite(v)]
    low, high = min(values) / 1.5, max(values) * 1.5
    middle = math.sqrt(low * high)
    if high / low < 30:
        low, high = min(low, middle / 8), max(high, middle * 8)
    steps = max(len(lines[0][1]), 2)
    return Scale(1, steps, _LEFT, right), Scale(low, high, _BOTTOM, _TOP, log=True)


def _axes(x: Scale, y: Scale) -> Iterator[Markup]:
    yield from grid(y, _LEFT, x.end, power_of_ten)
    yield from across(x, _BOTTOM, "step", lambda v: f"{v:g}" if v == int(v) else "")


def _drawn(one: Curve, x: Scale, y: Scale) -> Markup:
    name, values, colour, dash = one
    d = path((x(step), y(value)) for step, value in enumerate(values, 1))
    known = [(t, v) for t, v in enumerate(values, 1) if not math.isnan(v)]
    (first, from_), (last, to) = known[0], known[-1]
    title = f"{name}: {small(from_)} at step {first}, {small(to)} at step {last}"
    thin = 1.2 if colour == FAINT else 2
    return element("path", (), title, d=d, class_=f"s-{colour}", stroke_width=thin,
                   stroke_dasharray=dash)  # fmt: skip


def _label_ends(lines: Sequence[Curve], y: Scale) -> Iterator[Markup]:
    """A name at the end of every line, moved apart where lines end together."""
    place = sorted(
        (y(values[-1]), name, colour)
        for name, values, colour, _ in lines
        if not math.isnan(values[-1])
    )
    tops: list[float] = []
    for at, _, _ in place:
        tops.append(max(at, tops[-1] + _APART) if tops else at)
    for i in reversed(range(len(tops))):  # those at the bottom push the others up again
        tops[i] = min(tops[i], tops[i + 1] - _APART if i + 1 < len(tops) else float(_BOTTOM))
    for top, (_, name, colour) in zip(tops, place, strict=True):
        yield words(WIDTH - _NAMES + 5, top + 4, name, kind=f"f-{colour} label")


def _growth(result: Mapping[str, Any], tensor: str) -> str:
    growth = (result["growth"] or {}).get(tensor) or {}
    named = {k: v for k, v in growth.items() if v is not None}
    if not named:
        return "The free drift is too small to fit its growth."
    factors = ", ".join(
        f"{v['factor']:.2f} ({'all puzzles' if k == 'all' else k})" for k, v in named.items()
    )
    text = f"A step multiplies the free drift by {factors}."
    if not result["floor"]:
        return f"{text} No noise floor was measured."
    first = (result["above_floor"] or {}).get(tensor)
    when = "never" if first is None else f"from step {first} on"
    return f"{text} More than ten times the noise floor: {when}."
