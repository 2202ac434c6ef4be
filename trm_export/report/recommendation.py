"""Which file to ship: the smallest that passes all its gates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trm_export.report.text import clean, milliseconds, points, size_text
from trm_export.tasks.selection import COUNT
from trm_runtime.message_text import counted
from trm_runtime.parity.counts import paired_interval
from trm_runtime.parity.result import decided

Document = Mapping[str, Any]
File = Mapping[str, Any]

_RULE = (
    "The rule: the smallest file that passes all its gates. Speed does not decide, because it "
    "depends on the machine."
)
_LOSS = 0.01  # share of puzzles, the loss to exclude where no gate has one


@dataclass(frozen=True)
class Recommendation:
    """The file to ship and its facts; without a `name`, `facts` is why there is none.

    `doubt`: why the puzzles are too few for that; empty if they are not. `measure`: the command for
    more of them; empty if there is none.
    """

    name: str
    facts: str
    reasons: tuple[str, ...]
    doubt: str = ""
    measure: str = ""


def recommendation(document: Document) -> Recommendation:
    """The smallest file that passes; of the same size, the fastest."""
    passing = [file for file in document["files"] if _passes(file)]
    if not passing:
        unjudged = any(file["result"]["passed"] for file in document["files"])
        why = "no file could be judged" if unjudged else "none passes its gates"
        return Recommendation("", f"Ship none of these files: {why}.", ())
    best = min(passing, key=lambda file: (file["bytes"], _step_ms(file), file["file"]))
    facts = ", ".join(_facts(document, best))
    reasons = tuple(_reasons(document, passing, best))
    return Recommendation(clean(best["file"]), facts, reasons, *_doubt(document, best))


def difference(score: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """Percentage points that a file solves more than its model, and their 95 % interval."""
    lost, won, n = len(score["lost"]), len(score["won"]), score["n"]
    low, high = paired_interval(lost, won, n)
    return 100 * (won - lost) / n, (100 * low, 100 * high)


def _doubt(document: Document, file: File) -> tuple[str, str]:
    """Too few puzzles: the interval of the difference is wider than the loss that is allowed.

    And the command for more.
    """
    lost, won, n = _pairs(file["result"])
    allowed = file["result"]["gates"]["exact_drop"] or _LOSS
    low, high = paired_interval(lost, won, n)
    half = (high - low) / 2
    if half <= allowed:
        return "", ""
    needed = max(_enough(lost, won, n, allowed), n + 1)
    remedy, command = _measure(document, needed)
    are = "is" if n == 1 else "are"
    return (
        f"{counted(n, 'puzzle')} {are} too few: the difference from the model is known to "
        f"\N{PLUS-MINUS SIGN}{100 * half:.1f} points, and a loss of {100 * allowed:g} is to be "
        f"excluded. That needs about {counted(needed, 'puzzle')}. {remedy}"
    ), command


def _pairs(result: Mapping[str, Any]) -> tuple[int, int, int]:
    """Puzzles lost, won and compared; without labels a settled answer that differs is lost."""
    score, d = result["accuracy"], result["decisions"]
    if score is not None:
        return len(score["lost"]), len(score["won"]), score["n"]
    return (d["settled"] - d["answers_equal"], 0, d["settled"]) if d is not None else (0, 0, 0)


def _enough(lost: int, won: int, n: int, allowed: float) -> int:
    """The puzzles, in two digits, after which the interval is narrow if as many again differ."""
    least, most = max(n, 1), 10**9
    lost_share, won_share = lost / least, won / least
    while least < most:
        tried = (least + most) // 2
        low, high = paired_interval(lost_share * tried, won_share * tried, tried)
        least, most = (least, tried) if (high - low) / 2 <= allowed else (tried + 1, most)
    step = 10 ** max(0, math.floor(math.log10(least)) - 1)
    return -(-least // step) * step


def _measure(document: Document, puzzles: int) -> tuple[str, str]:
    """How to compare more puzzles, and the command for it, from that of the report."""
    command, compared = document["command"], document["reference"]["puzzles"]
    asked = re.search(r" --count[ =](\d+)\b", command)
    if " --puzzles" in command and compared < (int(asked[1]) if asked else COUNT):
        return "The puzzles that were given are no more: add some, or drop --puzzles.", ""
    if re.search(r" --golden\b", command):
        return "Record a reference of more:", f"trm-export reference ... --count {puzzles}"
    same = re.sub(r" --(count[ =]\d+|force)\b", "", command)
    return "Measure more:", f"{clean(same)} --count {puzzles}"


def _passes(file: File) -> bool:
    result = file["result"]
    rungs = [(rung["name"], rung["status"]) for rung in result["rungs"]]
    settled = None if result["decisions"] is None else result["decisions"]["settled"]
    return bool(result["passed"]) and decided(rungs, settled)


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
