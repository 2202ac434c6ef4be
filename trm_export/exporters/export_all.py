"""Export one model in every format and precision that it supports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from trm_export.errors import ParityError, UsageError
from trm_export.exporters.choices import FORMATS, PRECISIONS, Choices, target_name
from trm_export.exporters.export import format_named, plan, produce
from trm_export.exporters.export_result import SetEntry
from trm_export.exporters.format import Job, Tell, silent
from trm_export.exporters.shared import Shared
from trm_export.files import refuse_overwrite
from trm_export.step.step_model import AnyModel, adapt
from trm_runtime.parity import Puzzles


def export_all(
    model: AnyModel,
    stem: str,
    folder: Path,
    puzzles: Puzzles,
    *,
    granularity: str = "step",
    puzzle_table: str = "internal",
    check: str = "auto",
    force: bool = False,
    source: Path | None = None,
    checked: bool = True,
    tell: Tell = silent,
) -> Iterator[SetEntry]:
    """Exports the set into ``folder``, an entry at a time, as ``<stem>-<precision>.<suffix>``.

    Random weights may fail the gates of an integer precision: set ``checked`` to False where only
    size and speed of the files matter.

    Raises what `export` raises, except for refusals and failed checks, which are entries. Files
    that must not be replaced are found before the first one is written.
    """
    model = adapt(model)
    shared = Shared(model, check)
    planned: list[tuple[SetEntry, Job | None]] = []
    for kind in map(format_named, FORMATS):
        for precision in PRECISIONS:
            choices = Choices(precision, granularity=granularity, puzzle_table=puzzle_table)
            entry = SetEntry(kind.name, precision, folder / target_name(stem, kind.name, choices))
            try:
                planned.append((entry, plan(model, puzzles, kind, choices, shared)))
            except UsageError as error:
                planned.append((dataclasses.replace(entry, refused=str(error)), None))
            else:
                refuse_overwrite(entry.path, force=force)
    shared.planned = frozenset(job.contract.precision for _, job in planned if job is not None)
    for entry, job in planned:
        if job is None:
            yield entry
            continue
        kind = format_named(entry.format)
        try:
            result = produce(
                job, entry.path, kind, force=force, source=source, checked=checked, tell=tell
            )
        except UsageError as error:  # an operator that the format does not have
            yield dataclasses.replace(entry, refused=str(error))
        except ParityError as error:
            yield dataclasses.replace(entry, failed=str(error))
        else:
            yield dataclasses.replace(entry, result=result)
