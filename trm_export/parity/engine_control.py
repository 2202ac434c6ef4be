"""The control of an exported file: the same file on the same engine, run in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trm_export.parity.control import NoControlError
from trm_runtime.cores import available_cores
from trm_runtime.file_kinds import kind_of
from trm_runtime.message_text import counted
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, Golden, check
from trm_runtime.runner import StepRunner

Progress = Callable[[float], object]


def own_control(
    golden: Golden, artifact: Path, threads: int | None, progress: Progress
) -> dict[str, Any]:
    """How far single steps of a file are from its recording, at worst, in plain JSON types.

    Raises NoControlError for an engine that can be run in one way only.
    """
    errors = {}
    for what, runner in _other_ways(artifact, threads):
        errors[what] = check(golden, runner, gates=Gates(), steps_only=True).forced_error or 0.0
        progress(len(errors) / 2)
    if not errors:
        name, title = artifact.name, kind_of(artifact).title
        raise NoControlError(f"{name}: the engine of a {title} has no other way to run it.")
    worst = max(errors, key=lambda what: errors[what])
    return {"what": worst, "forced_error": errors[worst], "errors": errors, "free": []}


def _other_ways(artifact: Path, threads: int | None) -> Iterator[tuple[str, StepRunner]]:
    engine = kind_of(artifact).engine
    if not engine.can_be_plain:
        return
    other = 1 if threads != 1 else max(2, available_cores())
    yield f"the same file with {counted(other, 'thread')}", open_runner(artifact, other)
    yield (
        "the same file with the optimisations of the engine off",
        open_runner(artifact, threads, optimised=False),
    )
