"""The questions of a comparison, answered apart: is a file its model, and what does it cost?

A sentence each: the file against its model in the precision that it states, which is exact; the
errors of single steps against those at its export; the engine, which is the file against itself;
and the answers of that precision against those of the model, which is statistics. Where one of the
others fails, the answers show what is wrong with the file, and not what its precision costs.
"""

from __future__ import annotations

from collections.abc import Iterator

from trm_export.parity.weights_report import WeightsReport
from trm_runtime.message_text import counted, rows_text
from trm_runtime.parity import ParityResult, Rung
from trm_runtime.parity.result import FAILED, NOT_JUDGED


def hops(
    result: ParityResult,
    weights: WeightsReport | None,
    measured: Rung | None,
    itself: Rung | None,
) -> tuple[str, ...]:
    """The sentences for one file; those that cannot be answered are left out."""
    return tuple(_sentences(result, weights, measured, itself))


def _sentences(
    result: ParityResult,
    weights: WeightsReport | None,
    measured: Rung | None,
    itself: Rung | None,
) -> Iterator[str]:
    if weights is not None:
        yield f"File: {weights.summary}."
    if measured is not None and measured.status == NOT_JUDGED:
        yield f"Export: the errors of single steps are not compared: {measured.summary}."
    elif measured is not None:
        yield f"Export: the errors of single steps {measured.summary}."
    if itself is not None:
        yield f"Engine: {itself.summary}."
    own = [one.status for one in (weights, measured, itself) if one is not None]
    cost = None if FAILED in own else cost_text(result)
    if cost is not None:
        yield f"Precision: {cost}."


def cost_text(result: ParityResult) -> str | None:
    """What the precision costs on these puzzles; None where nothing was solved."""
    score, d = result.accuracy, result.decisions
    if d is None or (score is None and not d.settled):
        return None
    rows = rows_text(result.puzzles, result.kind)
    steps = f", {d.steps_equal} of {counted(d.settled, 'halting step')} equal" * bool(d.settled)
    if score is None:
        return f"{result.precision} gives {d.answers_equal} of {d.settled} equal answers{steps}"
    points = 100 * (len(score.lost) - len(score.won)) / score.n
    change = "costs nothing" if points == 0 else f"costs {points:.2f} points"
    if points < 0:
        change = f"gains {-points:.2f} points"
    exact = f"{len(score.lost)} lost, {len(score.won)} won, p = {score.p_value:.2g}"
    return f"{result.precision} {change} on {rows} ({exact}){steps}"
