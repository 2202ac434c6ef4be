"""Record a reference into a file, chunk by chunk; a killed recording can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trm_export.errors import UsageError, reason_of
from trm_export.files import atomic_write
from trm_export.parity.control import NoControlError, controlled
from trm_export.parity.parts import Parts, beside, digest
from trm_export.step.keras_runner import KerasRunner
from trm_export.step.step_model import AnyModel
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

Array = np.ndarray[Any, Any]
Progress = Callable[[float], object]  # the share of the work that is done

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
    if batch_size < 1:
        raise UsageError(f"The batch size must be 1 or more, got {batch_size}.")
    runner = KerasRunner(model)
    tokens, labels = model_tokens(runner.contract, puzzles), targets(puzzles)
    chosen = plan(runner.contract, len(tokens["inputs"]), budget)
    job = {
        "contract": runner.contract.document(),
        "puzzles": digest(*tokens.values(), labels),
        "provenance": about.provenance,
        "budget": budget,
        "batch_size": batch_size,
    }
    parts = Parts(beside(path), job)
    recorder = _Recorder(runner, tokens, labels, chosen, batch_size, parts, progress, control)
    with atomic_write(path, force=force) as new:
        with new.open("wb") as file:
            recorder.write(file, about)
        if control is not False:
            try:
                summary = controlled(
                    read_golden(new), model, batch_size=batch_size, parts=parts,
                    progress=recorder.control_progress,
                )  # fmt: skip
                about = replace(about, control=summary)
            except NoControlError as error:
                if control:
                    raise NoControlError(
                        f"{reason_of(error)}; drop --control, or pass --no-control."
                    ) from error
                reason = {"no_control": reason_of(error)}
                about = replace(about, provenance={**about.provenance, **reason})
            with new.open("wb") as file:
                recorder.write(file, about)
    parts.remove()
    return read_golden(path)


class _Recorder:
    """The chunks of one recording, each recorded once and stored."""

    def __init__(
        self,
        runner: KerasRunner,
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
            slots = record_refilled(self._runner, self._tokens, self._plan, self._report)
            self._parts.save("refilled", refilled_arrays(slots))
            return slots
        return refilled_from(known, min(self._plan.puzzles, self._plan.chunk))
