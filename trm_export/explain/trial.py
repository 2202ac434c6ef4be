"""Temporary exports that are measured and deleted: written and opened like any export."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trm_export.exporters.choices import Choices
from trm_export.exporters.export import build, plan
from trm_export.exporters.file_check import opened
from trm_export.exporters.format import Format, Job
from trm_export.exporters.puzzle_table_file import table_bytes
from trm_export.exporters.shared import Shared
from trm_export.files import size_on_disk
from trm_export.leftovers import scratch_folder
from trm_runtime.parity import Gates, ParityResult, Puzzles, check
from trm_runtime.puzzle_table import table_beside
from trm_runtime.runner import StepRunner


@dataclasses.dataclass(frozen=True)
class Trial:
    """A temporary export of a model."""

    job: Job
    path: Path
    runner: StepRunner

    @property
    def bytes(self) -> int:
        """Of the file, its contract included."""
        return size_on_disk(self.path)


@contextmanager
def fresh(shared: Shared, kind: Format, choices: Choices, puzzles: Puzzles) -> Iterator[Trial]:
    """A new file of this kind, opened with the device's own driver; unchecked, then deleted.

    Raises UsageError for choices that are not supported, ParityError where calibration fails.
    """
    job = plan(shared.model, puzzles, kind, choices, shared)
    with scratch_folder() as folder:
        path = Path(folder, f"trial{kind.suffix}")
        job, _ = build(job, kind, path)
        if job.contract.puzzle_table_sha256 is not None:
            table_beside(path).write_bytes(table_bytes(job.model.keras))
        yield Trial(job, path, opened(job, path))


def forced(
    shared: Shared, trial: Trial, puzzles: Puzzles, gates: Gates | None = None
) -> ParityResult:
    """Single steps of a trial against the model, judged as `check` does."""
    return check(shared.golden(puzzles), trial.runner, gates=gates, steps_only=True)
