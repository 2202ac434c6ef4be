"""Which file to ship: the smallest that passes all its gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trm_export.report.text import clean, milliseconds, points, size_text
from trm_runtime.message_text import counted
from trm_runtime.parity.counts import paired_interval
from trm_runtime.parity.result import any_judged

Document = Mapping[str, Any]
File = Mapping[str, Any]

_RULE = (
    "The rule: the smallest file that passes all its gates. Speed does not decide, because it "
    "depends on the machine."
)


@dataclass(frozen=True)
class Recommendation:
    """The file to ship and its facts; without a `name`, `facts` is why there is none."""

    name: str
    facts: str
    reasons: tuple[str, ...]


def recommendation(document: Document) -> Recommendation:
    """The smallest file that passes; of the same size, the fastest."""
    passing = [file for file in document["files"] if _passes(file)]
    if not passing:
        unjudged = any(file["result"]["passed"] for file in document["files"])
        why = "no gate was applied to a file" if unjudged else "none passes its gates"
        return Recommendation("", f"Ship none of these files: {why}.", ())
    best = min(passing, key=lambda file: (file["bytes"], _step_ms(file), file["file"]))
    facts = ", ".join(_facts(document, best))
    return Recommendation(clean(best["file"]), facts, tuple(_reasons(document, passing, best)))


def difference(score: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """Percentage points that a file solves more than its model, and their 95 % interval."""
    lost, won, n = len(score["lost"]), len(score["won"]), score["n"]
    low, high = paired_interval(lost, won, n)
    return 100 * (won - lost) / n, (100 * low, 100 * high)


def _passes(file: File) -> bool:
    rungs = ((rung["name"], rung["status"]) for rung in file["result"]["rungs"])
    return bool(file["result"]["passed"]) and any_judged(rungs)


def _step_ms(file: File) -> float:
    cost = file["cost"] or {}
    return float("inf") if cost.get("step_ms") is None else float(cost["step_ms"])


def _facts(document: Document, file: File) -> Iterator[str]:
    known = document["reference"].get("cost") or {}
    yield f"{size_text(file['bytes'])}{_smaller(known.get('bytes'), file['bytes'])}"
    yield from _answers(file["result"])
    if _step_ms(file) < float("inf"):
        speed = document.get("speed")
        where = f" on this machine, {clean(speed['date'])}" if speed else ""
        yield f"{milliseconds(_step_ms(file))} ms a step{where}"


def _answers(result: Mapping[str, Any]) -> Iterator[str]:
    score, d = result["accuracy"], result["decisions"]
    if score is not None:
        found, ends = difference(score)
        yield f"{points(found, ends, 'points ')}"
    elif d is not None:
        yield f"{d['answers_equal']} of {d['settled']} settled answers equal"
    if d is not None:
        yield f"{d['candidate_mean_steps']:.2f} steps"


def _smaller(model: int | None, file: int) -> str:
    if not model or not file:
        return ""
    ratio = model / file
    if 0.95 < ratio < 1.05:
        return " (as large as the model)"
    return f" ({ratio:.1f}x smaller)" if ratio > 1 else f" ({1 / ratio:.1f}x larger)"


def _reasons(document: Document, passing: list[File], best: File) -> Iterator[str]:
    yield _RULE
    timed = [file for file in passing if _step_ms(file) < float("inf")]
    if len(timed) > 1:
        fastest = min(timed, key=lambda file: (_step_ms(file), file["bytes"], file["file"]))
        if fastest is best:
            yield "It is also the fastest that passes."
        else:
            facts = f"{milliseconds(_step_ms(fastest))} ms a step, {size_text(fastest['bytes'])}"
            yield f"The fastest that passes is {clean(fastest['file'])}: {facts}."
    if speed := document.get("speed"):
        yield f"This machine: {clean(speed['machine'])}."
    yield from _lost(passing)


def _lost(passing: list[File]) -> Iterator[str]:
    """Why a file can pass and still answer puzzles differently."""
    judged = [file for file in passing if file["result"]["accuracy"]]
    if not judged:
        return
    worst = max(judged, key=lambda file: len(file["result"]["accuracy"]["lost"]))
    score = worst["result"]["accuracy"]
    if not score["lost"]:
        return
    lost = counted(len(score["lost"]), "puzzle")
    yield (
        f"To pass is to be within the gates, not to be equal: {clean(worst['file'])} loses {lost} "
        f"that the model solves and wins {len(score['won'])} that it does not, of {score['n']}. "
        "No file that passes loses more."
    )
