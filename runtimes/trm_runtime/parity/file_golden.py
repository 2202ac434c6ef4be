"""Goldens of an exported file: the same file on this engine and on the one that recorded it.

Quantization is no part of such a comparison, so it is tight in every precision. Where engine,
version, processor and threads are the same, every value must be the same to the last bit; elsewhere
within twice the *floor*: the largest difference of the recording engine from itself with
another number of threads, with its optimisations off and, in int8, with other carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trm_runtime.cores import available_cores
from trm_runtime.digest import tree_digest
from trm_runtime.doctor import cpu_model
from trm_runtime.errors import RejectedInputError
from trm_runtime.file_kinds import kind_of
from trm_runtime.measure import load_engine
from trm_runtime.parity.gates import Gates, gates_for
from trm_runtime.parity.golden import Golden

LEAST = 1e-6  # relative L2: two engines add float32 numbers in another order
MARGIN = 2.0  # times the floor


@dataclass(frozen=True)
class EngineHop:
    """How a file is compared with its own recording.

    Attributes:
        exact: every value must be the same.
        gates: the limits.
        words: one sentence on both engines and the limit.
    """

    exact: bool
    gates: Gates
    words: str


def origin_of(path: Path, threads: int | None, engine: str | None = None) -> dict[str, Any]:
    """The provenance of a recording of this file on this machine."""
    return {
        "file": path.name,
        "file_sha256": tree_digest(path),
        "engine": load_engine(path, engine),
        "processor": cpu_model(),
        "threads": threads or available_cores(),
    }


def is_of_a_file(golden: Golden) -> bool:
    """Whether an exported file was recorded, and not its model."""
    return "file_sha256" in golden.about.provenance


def engine_hop(
    golden: Golden, path: Path, threads: int | None, engine: str | None = None
) -> EngineHop | None:
    """How to compare this file with the golden; None for the golden of a model.

    Raises RejectedInputError for the golden of another file.
    """
    if not is_of_a_file(golden):
        return None
    recorded, here = golden.about.provenance, origin_of(path, threads, engine)
    if recorded["file_sha256"] != here["file_sha256"]:
        raise RejectedInputError(
            f"{path}: the recording is of another file ({recorded.get('file')}, SHA-256 "
            f"{recorded['file_sha256'][:16]}); record this one: `trm-export reference {path}`."
        )
    names = ("engine", "processor", "threads")
    if all(recorded.get(name) == here[name] for name in names):
        gates = Gates(relative_l2=0.0, answers=1.0, halting_steps=1.0)
        where = f"{here['engine']} on the same kind of processor"
        return EngineHop(True, gates, f"Engine: {where}, so every value must be the same.")
    mode = kind_of(path).chosen(engine)[1]
    return other_engine(golden, here["engine"], golden.contract.computed_in(mode).precision)


def other_engine(golden: Golden, engine: str, precision: str) -> EngineHop | None:
    """How to compare another engine with the golden of a file; None for that of a model.

    An engine that computes in another `precision` than the file's has the gates of that one.
    """
    if not is_of_a_file(golden):
        return None
    if precision != golden.contract.precision:
        words = f"Engine: {engine} computes in {precision}, whose gates apply."
        return EngineHop(False, gates_for(precision), words)
    limit, recorded = limit_of(golden), golden.about.provenance
    gates = Gates(relative_l2=limit, answers=1.0, halting_steps=1.0, near_ties_excused=True)
    words = (
        f"Engine: {engine} on {cpu_model()}, recorded by {recorded.get('engine')} on "
        f"{recorded.get('processor')}, so values may differ by {limit:.1e}."
    )
    return EngineHop(False, gates, words)


def limit_of(golden: Golden) -> float:
    """The largest relative L2 that two engines may differ by on this file."""
    control = golden.about.control or {}
    return max(LEAST, MARGIN * float(control.get("forced_error") or 0.0))
