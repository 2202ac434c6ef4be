"""What an exporter is: a format says what it can make, and writes one job to one path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.exporters.shared import Shared
from trm_export.step.step_model import StepModel
from trm_runtime.contract import StepContract
from trm_runtime.parity import Puzzles

Documents = Mapping[str, str]
"""What an exporter has to say besides its file: ending -> JSON text, with a `tool` of ours in it.
Each is kept beside the artifact as ``<artifact><ending>``, ending ``.calibration.json`` say."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One file to write.

    Attributes:
        model: what is exported, on the TensorFlow backend.
        contract: what the file must be; precision, batch and granularity are in it.
        rolled: one loop over the shared stack instead of unrolled passes.
        engine: the engine the file is for, where a format has more than one.
        puzzles: real ones, for calibration.
        shared: the reference, and what this job may take from others of the same model.
        integer_io: int8 in the place of float32 at the border, in the contract as soon as the job
            is done.
        keep: short names of the layers that stay float32.
    """

    model: StepModel
    contract: StepContract
    rolled: bool
    engine: str
    puzzles: Puzzles
    shared: Shared
    integer_io: bool = False
    keep: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: the command's name, and that of its entry in `HOST_KINDS`.
        packages: distributions whose versions go into the contract.
        batch: rows of a call where none are asked for; None leaves them free.
        write: writes a job to a path that does not exist yet, in the contract's names and with
            the contract inside; returns the documents that go with the file, if any.
        rolls: whether this job is better off with a rolled recursion, by measurement.
        refusals: why this job cannot be done, a sentence a reason.
    """

    name: str
    packages: tuple[str, ...]
    batch: int | None
    write: Callable[[Job, Path], Documents | None]
    rolls: Callable[[StepContract], bool]
    refusals: Callable[[Job], Iterator[str]]

    @property
    def suffix(self) -> str:
        """Of the file; empty for a folder."""
        return HOST_KINDS[self.name].file.suffix

    @property
    def engines(self) -> tuple[str, ...]:
        """What the files can be made for, the usual one first."""
        return HOST_KINDS[self.name].targets
