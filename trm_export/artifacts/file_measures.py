"""What was measured of an exported file for plans, kept beside it as `<file>.plan.json`.

Times are of this machine, and traces of some puzzles; each is measured again where the file, its
engine or what it was measured with has changed.
"""

from __future__ import annotations

import base64
import json
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

Array = np.ndarray[Any, Any]
ROUNDS = 3  # other work on the machine only makes a step slower
Key = Mapping[str, Any]  # what a measurement holds for, in JSON types


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

    def costs(self, key: Key) -> tuple[StepCost, ...] | None:
        """The costs that were measured for this; None for others."""
        found = self._part("costs", key)
        try:
            return None if found is None else tuple(StepCost(**one) for one in found)
        except TypeError:
            return None

    def traces(self, key: Key) -> tuple[Trace, ...] | None:
        """The traces of all tries that were measured for this; None for others."""
        found = self._part("traces", key)
        try:
            return None if found is None else _traces(found)
        except (KeyError, TypeError, ValueError):
            return None

    def keep(
        self,
        cost_key: Key,
        costs: Sequence[StepCost],
        trace_key: Key,
        traces: Sequence[Trace],
    ) -> None:
        """Replaces what is beside the file; nothing where nothing can be written there."""
        parts = {
            "costs": {"key": cost_key, "found": [asdict(one) for one in costs]},
            "traces": {"key": trace_key, "found": _texts(traces)},
        }
        try:
            with atomic_write(self._document) as new:
                new.write_text(json.dumps({"tool": TOOL, "kind": "plan", **parts}) + "\n")
        except TargetError:
            return

    def _part(self, name: str, key: Key) -> Any:
        part = self._parts.get(name, {})
        return part.get("found") if part.get("key") == dict(key) else None


def _texts(traces: Sequence[Trace]) -> dict[str, Any]:
    scores = np.stack([trace.scores for trace in traces]).astype("<f4")
    exact = np.packbits(np.stack([trace.exact for trace in traces]))
    encoded = (base64.b64encode(array.tobytes()).decode() for array in (scores, exact))
    return {"shape": list(scores.shape), **dict(zip(("scores", "exact"), encoded, strict=True))}


def _traces(found: Mapping[str, Any]) -> tuple[Trace, ...]:
    shape = tuple(found["shape"])
    scores = np.frombuffer(base64.b64decode(found["scores"]), "<f4").reshape(shape)
    bits = np.frombuffer(base64.b64decode(found["exact"]), np.uint8)
    exact = np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)
    return tuple(Trace(*pair) for pair in zip(scores, exact, strict=True))
