"""Figures over the steps: drift against the noise floor, and clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trm_export.report.svg import (
    BLUE,
    FAINT,
    GREEN,
    PURPLE,
    RED,
    Margins,
    drawing,
    house_style,
    inline,
)
from trm_export.report.table import Figure
from trm_export.report.text import ending, power_of_ten, short, small
from trm_runtime.message_text import counted

OUTPUTS = ("logits", "q_halt_logits", "q_continue_logits")
Steps = Sequence[Mapping[str, Any]]

_GROUPS = {"settled": "-", "unsettled": (0, (4, 2))}
_LABEL = 0.075  # of the height of the axes, between labels
_LARGEST = 4  # clipped tensors that are named


def drift(result: Mapping[str, Any], tensor: str, key: str) -> Figure | None:
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
    floor = curve(result["floor"], tensor, "all")
    with house_style():
        figure, axes = drawing(3.1, Margins(right=1.3))
        for _, values, colour, dash in lines:
            axes.plot(range(1, len(values) + 1), values, color=colour, linestyle=dash)
        ends = [(name, values[-1], colour) for name, values, colour, _ in lines]
        if floor:
            axes.plot(range(1, len(floor) + 1), floor, color=FAINT, linewidth=1, linestyle=":")
            ends.append(("noise floor", floor[-1], FAINT))
        gate = result["gates"]["relative_l2"]
        if gate:
            axes.axhline(gate, color=FAINT, linewidth=0.9)
            ends.append((f"gate {small(gate)}", gate, FAINT))
        _logarithmic(axes, len(lines[0][1]))
        if floor:
            bottom = axes.get_ylim()[0]
            axes.fill_between(
                range(1, len(floor) + 1), floor, bottom, color=FAINT, alpha=0.15, lw=0
            )
            axes.set_ylim(bottom=bottom)
        axes.set_title(f"{short(tensor, 24)}: relative L2 error")
        _label_ends(axes, ends)
        svg = inline(figure, key)
    name = f"drift of {short(tensor, 40)}"
    return Figure(svg, _drift_label(tensor, ends), name, _growth(result, tensor))


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


def clipping(shares: Mapping[str, Sequence[float]], key: str) -> Figure | None:
    """The share of clipped values of every calibrated tensor over the steps."""
    by_size = sorted(shares.items(), key=lambda item: (-max(item[1], default=0.0), item[0]))
    drawn = [(name, [v or math.nan for v in values]) for name, values in by_size if any(values)]
    if not drawn:
        return None
    colours = (RED, BLUE, GREEN, PURPLE)
    with house_style():
        figure, axes = drawing(
            2.75 + 0.19 * len(drawn[:_LARGEST]), Margins(bottom=0.62 + 0.19 * len(drawn[:_LARGEST]))
        )
        for i, (name, values) in reversed(list(enumerate(drawn))):
            named = i < _LARGEST
            axes.plot(
                range(1, len(values) + 1), values, marker="o" if named else None, markersize=3,
                color=colours[i] if named else FAINT, linewidth=1.6 if named else 0.8,
                label=f"{i + 1}. {ending(name, 52)}" if named else None,
            )  # fmt: skip
        _logarithmic(axes, len(drawn[0][1]))
        axes.set_title("share of values clipped")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="lower left", frameon=False,
                      fontsize=8)  # fmt: skip
        svg = inline(figure, key)
    name, values = by_size[0][0], list(by_size[0][1])
    worst = max(values)
    most = f"At most {worst * 100:.2g} % of {ending(name, 70)}, at step {values.index(worst) + 1}"
    return Figure(
        svg,
        f"Clipped values by step. {most}.",
        "values clipped",
        f"Values outside the calibrated range, on held-out puzzles. {most}; "
        f"{counted(len(shares), 'tensor')} calibrated.",
        "The largest shares have a name.",
    )


def _logarithmic(axes: Any, steps: int) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(power_of_ten)
    axes.minorticks_off()
    low, high = axes.get_ylim()
    if high / low < 30:  # at least one whole power of ten shows
        middle = math.sqrt(low * high)
        axes.set_ylim(min(low, middle / 8), max(high, middle * 8))
    axes.set_xlim(1, max(steps, 2))
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=8)
    axes.set_xlabel("step")
    axes.grid(axis="y")


def _label_ends(axes: Any, ends: Sequence[tuple[str, float, str]]) -> None:
    """A name at the end of every line, moved apart where lines end together."""
    low, high = map(math.log, axes.get_ylim())
    place = sorted(
        ((math.log(value) - low) / (high - low), name, colour)
        for name, value, colour in ends
        if not math.isnan(value)
    )
    tops: list[float] = []
    for y, _, _ in place:
        tops.append(max(y, tops[-1] + _LABEL) if tops else max(y, 0.0))
    for i in reversed(range(len(tops))):  # those at the top push the others down again
        tops[i] = min(tops[i], tops[i + 1] - _LABEL if i + 1 < len(tops) else 1.0)
    for top, (_, name, colour) in zip(tops, place, strict=True):
        axes.annotate(
            name, (1.02, top), xycoords="axes fraction", color=colour, va="center",
            fontsize=9, annotation_clip=False,
        )  # fmt: skip


def _drift_label(tensor: str, ends: Sequence[tuple[str, float, str]]) -> str:
    last = ", ".join(f"{name} {small(value)}" for name, value, _ in ends if not math.isnan(value))
    return f"Relative L2 error of {short(tensor, 40)} over the steps; at the last: {last}."


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
