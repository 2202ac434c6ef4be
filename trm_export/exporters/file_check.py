"""The check of a written file before it gets its name: single steps against Keras.

Only single steps are compared (of a loop, which has none, its answers and halting steps), so that
an untrained model can be exported too; `trm-export parity` checks everything.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trm_export.exporters.format import Job
from trm_export.exporters.probe import probe_puzzles
from trm_export.tasks import find_task
from trm_runtime.message_text import counted
from trm_runtime.open import open_runner
from trm_runtime.parity import Golden, ParityResult, check
from trm_runtime.parity.gates import is_integer
from trm_runtime.parity.judge import DECISIONS
from trm_runtime.runner import StepRunner

_MORE = 32  # puzzles of a second look


@dataclasses.dataclass(frozen=True)
class FileCheck:
    """What a file was compared with, how far it is off, and whether it may be written."""

    golden: Golden
    result: ParityResult
    passed: bool
    verdict: str


def opened(job: Job, file: Path, table: Path | None = None) -> StepRunner:
    """The written file as on a device; a SavedModel has the threads of TensorFlow."""
    return open_runner(file, None if file.is_dir() else job.shared.threads, table)


def file_check(job: Job, candidate: StepRunner) -> FileCheck:
    """Compares the file of a job; an integer file that few puzzles fail has a second look."""
    golden, first = recording(job), ""
    result = check(golden, candidate, steps_only=True)
    if a_row_may_decide(job, result):
        first = f" Those of {counted(result.puzzles, 'puzzle')} alone were not."
        golden = more_golden(job, job.shared.steps)
        result = check(golden, candidate, steps_only=True)
    broken = result.broken
    if broken is None:
        more = f"{first} --check full compares every step." if _quick(job) else first
        return FileCheck(golden, result, True, f"{result.verdict}{more}")
    integer, puzzles = is_integer(job.contract.precision), counted(result.puzzles, "puzzle")
    if integer and not result.forced and broken.name in DECISIONS:
        few = f"{puzzles}: too few to judge {broken.name} of an integer loop."
        return FileCheck(golden, result, True, few)
    return FileCheck(golden, result, False, result.verdict)


def a_row_may_decide(job: Job, result: ParityResult) -> bool:
    """Whether an integer file failed by a cosine, which is of all rows of a step together.

    A row whose next decision is nearly a tie can take another way in one step; among a few rows
    that is below a gate that many rows are above. So such a file is judged on more.
    """
    broken = result.broken
    if broken is None or not result.forced or broken.name in DECISIONS:
        return False
    few = job.shared.few or result.puzzles >= _MORE or find_task(job.model) is None
    return is_integer(job.contract.precision) and not few


def more_golden(job: Job, steps: int | None) -> Golden:
    """What a file is compared with at a second look; `steps` as `record` has them."""
    return job.shared.golden(probe_puzzles(job.model, _MORE), steps)


def _quick(job: Job) -> bool:
    """Whether not all steps are compared."""
    return job.shared.few or (job.shared.steps is not None and job.contract.granularity != "loop")


def recording(job: Job) -> Golden:
    """What a file is checked with: few steps, but a loop shows only answers."""
    loop = job.contract.granularity == "loop"
    if job.shared.few:
        return job.shared.few_golden(job.puzzles, answers=loop)
    return job.shared.golden(job.puzzles, None if loop else job.shared.steps)
