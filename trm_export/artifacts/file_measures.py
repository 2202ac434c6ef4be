"""What was measured of an exported file for plans, kept beside it as `<file>.plan.json`.

Times are of this machine, and traces of some puzzles; each is measured again where the file, its
engine or what it was measured with has changed, and where what is kept is not as it was written.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.artifacts.benchmark import BenchRow, bench
from trm_export.errors import RejectedInputError, TargetError
from trm_export.files import PLAN, atomic_write, sidecar
from trm_export.halting.curve import Trace
from trm_export.version import TOOL
from trm_runtime import strict_json
from trm_runtime.regular_file import read_regular
from trm_runtime.strict_json import Fields

Array = np.ndarray[Any, Any]
ROUNDS = 3  # other work on the machine only makes a step slower
Key = Mapping[str, Any]  # what a measurement holds for, in JSON types
Shape = tuple[int, int, int]  # tries, steps of a try, puzzles
_LEAST_MS = 1e-6  # of a step: no engine computes one in a nanosecond


@dataclass(frozen=True)
class StepCost:
    """A file with one number of threads, one puzzle (or one fixed batch) at a time."""

    threads: int
    step_ms: float
    load_ms: float
    resident_mb: float | None  # added by opening and running, 10^6 bytes
    step_joules: float | None  # None without a meter


def step_cost(path: Path, feeds: Mapping[str, Array], threads: int, engine: str | None) -> StepCost:
    """The fastest of ROUNDS, each in a process of its own; raises what `bench` raises."""
    identifiers = feeds.get("puzzle_identifiers")

    def row() -> BenchRow:
        tokens = feeds["inputs"]
        return bench(path, tokens, identifiers=identifiers, engine=engine, threads=threads)

    best = min((row() for _ in range(ROUNDS)), key=lambda row: row.step_ms)
    return StepCost(threads, best.step_ms, best.load_ms, best.resident_mb, best.step_joules)


class FileMeasures:
    """The measurements of one file."""

    def __init__(self, path: Path) -> None:
        self._document = sidecar(path, PLAN)
        try:
            found: Any = strict_json.parse(read_regular(self._document).decode())
            self._parts = {name: dict(found[name]) for name in ("costs", "traces")}
        except (OSError, ValueError, KeyError, TypeError, RejectedInputError):
            self._parts = {}

    def costs(self, key: Key, threads: Sequence[int]) -> tuple[StepCost, ...] | None:
        """The costs with these numbers of threads, measured for this; None for others."""
        found = self._part("costs", key)
        problems: list[str] = []
        each = found if isinstance(found, list) else []
        costs = tuple(_cost(one, problems) for one in each)
        known = not problems and [cost.threads for cost in costs] == list(threads)
        return costs if known else None

    def traces(self, key: Key, shape: Shape) -> tuple[Trace, ...] | None:
        """The traces of this shape, measured for this; None for others."""
        problems: list[str] = []
        fields = Fields(self._part("traces", key), "", ("shape", "scores", "exact"), problems)
        texts = fields.text("scores"), fields.text("exact")
        known = fields.items("shape") == list(shape) and not problems
        return _traces(*texts, shape) if known else None

    def keep(
        self,
        cost_key: Key,
        costs: Sequence[StepCost],
        trace_key: Key,
        traces: Sequence[Trace],
    ) -> Path | None:
        """Replaces what is beside the file; its path where it cannot be replaced."""
        parts = {
            "costs": {"key": cost_key, "found": [asdict(one) for one in costs]},
            "traces": {"key": trace_key, "found": _texts(traces)},
        }
        try:
            with atomic_write(self._document) as new:
                new.write_text(json.dumps({"tool": TOOL, "kind": "plan", **parts}) + "\n")
        except TargetError:
            return self._document
        return None

    def _part(self, name: str, key: Key) -> Any:
        part = self._parts.get(name, {})
        return part.get("found") if part.get("key") == dict(key) else None


def _texts(traces: Sequence[Trace]) -> dict[str, Any]:
    scores = np.stack([trace.scores for trace in traces]).astype("<f4")
    exact = np.packbits(np.stack([trace.exact for trace in traces]))
    encoded = (base64.b64encode(array.tobytes()).decode() for array in (scores, exact))
    return {"shape": list(scores.shape), **dict(zip(("scores", "exact"), encoded, strict=True))}


def _cost(found: Any, problems: list[str]) -> StepCost:
    """One of `asdict`; what is wrong in it is added to the problems."""
    fields = Fields(found, "", tuple(StepCost.__annotations__), problems)

    def number(name: str, least: float) -> float:
        value = fields.number(name)
        if value < least:
            problems.append(f"{name}: {value} is below {least}")
        return value

    def known(name: str) -> float | None:
        return None if fields.values.get(name) is None else number(name, 0.0)

    return StepCost(
        fields.integer("threads"),
        number("step_ms", _LEAST_MS),
        number("load_ms", 0.0),
        known("resident_mb"),
        known("step_joules"),
    )


def _traces(scores: str, exact: str, shape: Shape) -> tuple[Trace, ...] | None:
    size = math.prod(shape)
    try:
        known = np.frombuffer(base64.b64decode(scores, validate=True), "<f4").reshape(shape)
        bits = np.frombuffer(base64.b64decode(exact, validate=True), np.uint8)
    except ValueError:
        return None
    asked = np.isfinite(known)
    if len(bits) != -(-size // 8) or not (asked[0].all() and (asked | np.isneginf(known)).all()):
        return None
    right = np.unpackbits(bits, count=size).astype(bool).reshape(shape)
    return tuple(Trace(*pair) for pair in zip(known, right, strict=True))
