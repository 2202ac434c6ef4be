"""Record a reference into a file, chunk by chunk; a killed recording can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from trm_export.errors import NoControlError, UsageError, reason_of
from trm_export.files import atomic_write
from trm_export.parity.engine_control import own_control
from trm_export.parity.parts import Parts, beside, digest
from trm_runtime.open import open_runner
from trm_runtime.parity import Golden, GoldenOrigin, Puzzles
from trm_runtime.parity.golden import Chunk, RefilledSlots
from trm_runtime.parity.golden_file import (
    GoldenWriter,
    chunk_arrays,
    chunk_from,
    read_golden,
    refilled_arrays,
    refilled_from,
)
from trm_runtime.parity.recorder import (
    Plan,
    model_tokens,
    plan,
    record_chunk,
    record_refilled,
    targets,
)
from trm_runtime.runner import StepRunner

if TYPE_CHECKING:
    from trm_export.step.step_model import AnyModel

Array = np.ndarray[Any, Any]
Progress = Callable[[float], object]  # the share of the work that is done
Measure = Callable[[Golden, Parts, Progress], Mapping[str, Any]]  # the control of a golden

BUDGET = 30_000_000  # bytes of followed states in a file, so that 1,000 9x9 puzzles take 40 MB
_CONTROL_SHARE = 0.5  # of the progress


def record_file(
    model: AnyModel,
    puzzles: Puzzles,
    path: Path,
    about: GoldenOrigin,
    *,
    control: bool | None = True,
    budget: int = BUDGET,
    batch_size: int = 64,
    force: bool = False,
    progress: Progress | None = None,
) -> Golden:
    """Writes the golden of these puzzles, and opens it.

    Args:
        model: the reference, on whatever backend Keras runs.
        puzzles: real ones.
        path: an `.npz`; finished parts are stored in `<path>.parts` until it is complete.
        about: where it comes from; its control is filled in here.
        control: also compare the reference with itself in float64; None: only if the model can be
            computed in float64, else the reason goes into the provenance as `no_control`.
        budget: bytes of states to store of the puzzles that are followed value by value.
        batch_size: rows a step.
        force: replace a file this tool did not make.
        progress: called with the share done.

    Raises:
        NoControlError: the model has no float64 control, and `control` is True.
        RejectedInputError: the puzzles do not fit the model.
        UsageError: no puzzles, or a batch size below 1.
    """
    from trm_export.parity.control import controlled
    from trm_export.step.keras_runner import KerasRunner

    runner = KerasRunner(model)

    def measured(golden: Golden, parts: Parts, report: Progress) -> dict[str, Any]:
        return controlled(golden, model, batch_size=batch_size, parts=parts, progress=report)

    take = _Take(puzzles, path, budget, batch_size, force, progress)
    return take.recorded(runner, about, control, measured)


def record_export(
    artifact: Path,
    puzzles: Puzzles,
    path: Path,
    about: GoldenOrigin,
    *,
    threads: int | None = None,
    control: bool | None = True,
    budget: int = BUDGET,
    batch_size: int = 64,
    force: bool = False,
    progress: Progress | None = None,
) -> Golden:
    """Writes the golden of an exported file on the engine of this machine, and opens it.

    Its control is the same file with another number of threads and with the optimisations of the
    engine off, the worse of both. `threads` are those of the engine; the others see `record_file`.
    """

    def measured(golden: Golden, parts: Parts, report: Progress) -> dict[str, Any]:
        return own_control(golden, artifact, threads, report)

    take = _Take(puzzles, path, budget, batch_size, force, progress)
    return take.recorded(open_runner(artifact, threads), about, control, measured)


@dataclass(frozen=True)
class _Take:
    """What the recordings of models and of files have in common."""

    puzzles: Puzzles
    path: Path
    budget: int
    batch_size: int
    force: bool
    progress: Progress | None

    def recorded(
        self, runner: StepRunner, about: GoldenOrigin, control: bool | None, measured: Measure
    ) -> Golden:
        """Records the runner, and compares it with its control."""
        if self.batch_size < 1:
            raise UsageError(f"The batch size must be 1 or more, got {self.batch_size}.")
        tokens, labels = model_tokens(runner.contract, self.puzzles), targets(self.puzzles)
        chosen = plan(runner.contract, len(tokens["inputs"]), self.budget)
        job = {
            "contract": runner.contract.document(),
            "puzzles": digest(*tokens.values(), labels),
            "provenance": about.provenance,
            "budget": self.budget,
            "batch_size": self.batch_size,
        }
        with closing(Parts(beside(self.path), job)) as parts:
            recorder = _Recorder(
                runner, tokens, labels, chosen, self.batch_size, parts, self.progress, control
            )
            with atomic_write(self.path, force=self.force) as new:
                with new.open("wb") as file:
                    recorder.write(file, about)
                if control is not False:
                    about = _with_control(new, about, control, measured, parts, recorder)
                    with new.open("wb") as file:
                        recorder.write(file, about)
            parts.remove()
        return read_golden(self.path)


def _with_control(
    new: Path,
    about: GoldenOrigin,
    control: bool | None,
    measured: Measure,
    parts: Parts,
    recorder: _Recorder,
) -> GoldenOrigin:
    """The origin with the control of the golden in this file, or with why there is none."""
    try:
        return replace(about, control=measured(read_golden(new), parts, recorder.control_progress))
    except NoControlError as error:
        if control:
            raise NoControlError(
                f"{reason_of(error)}; drop --control, or pass --no-control."
            ) from error
        reason = {"no_control": reason_of(error)}
        return replace(about, provenance={**about.provenance, **reason})


class _Recorder:
    """The chunks of one recording, each recorded once and stored."""

    def __init__(
        self,
        runner: StepRunner,
        tokens: Mapping[str, Array],
        labels: Array | None,
        chosen: Plan,
        batch_size: int,
        parts: Parts,
        progress: Progress | None,
        control: bool | None,
    ) -> None:
        self._runner, self._tokens, self._labels = runner, tokens, labels
        self._plan, self._batch_size, self._parts = chosen, batch_size, parts
        self._progress, self._share = progress, 1 - _CONTROL_SHARE * (control is not False)
        self._total = chosen.work(runner.contract.max_steps)
        self._done = self._known()
        self._report(0)

    def write(self, file: BinaryIO, about: GoldenOrigin) -> None:
        """Writes the golden into an open file."""
        writer = GoldenWriter(file)
        for number in range(len(self._plan.spans)):
            writer.chunk(self._chunk(number))
        writer.finish(self._runner.contract, about, self._refilled())

    def control_progress(self, share: float) -> None:
        """Reports the progress of the control."""
        if self._progress is not None:
            self._progress(self._share + (1 - self._share) * share)

    def _report(self, units: int) -> None:
        self._done += units
        if self._progress is not None:
            self._progress(self._share * min(self._done / self._total, 1.0))

    def _known(self) -> int:
        """Units of work that an earlier run has done."""
        steps, spans = self._runner.contract.max_steps, self._plan.spans
        chunks = [span for n, span in enumerate(spans) if self._parts.has(f"chunk-{n:05d}")]
        slots = steps * self._plan.refilled if self._parts.has("refilled") else 0
        return slots + sum(self._plan.chunk_work(span, steps) for span in chunks)

    def _chunk(self, number: int) -> Chunk:
        span = self._plan.spans[number]
        known = self._parts.load(f"chunk-{number:05d}")
        if known is None:
            chunk = record_chunk(
                self._runner, span, self._tokens, self._labels, self._plan, self._batch_size,
                self._report,
            )  # fmt: skip
            self._parts.save(f"chunk-{number:05d}", chunk_arrays(chunk))
            return chunk
        return chunk_from(known, span.start)

    def _refilled(self) -> RefilledSlots:
        known = self._parts.load("refilled")
        if known is None:
            numbers = np.arange(self._plan.refilled)
            slots = record_refilled(self._runner, self._tokens, numbers, self._report)
            self._parts.save("refilled", refilled_arrays(slots))
            return slots
        return refilled_from(known, min(self._plan.puzzles, self._plan.chunk))
