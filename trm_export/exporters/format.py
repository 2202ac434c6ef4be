"""The interface of an exporter: a `Format` writes one `Job` to one path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import keras

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.errors import UsageError
from trm_export.exporters.shared import Shared
from trm_export.model import is_own
from trm_export.step.step_model import StepModel
from trm_runtime.contract import StepContract
from trm_runtime.parity import Puzzles

Documents = Mapping[str, str]
"""JSON documents about an exported file: ending -> text, whose `tool` names this tool.
Each is written beside the artifact as ``<artifact><ending>``, for example ``.calibration.json``."""

Tell = Callable[[str], object]  # called with what is being done


def silent(description: str) -> None:
    """Discards what is being done."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One file to write.

    Attributes:
        model: what is exported, on the TensorFlow backend.
        contract: what the file must be; precision, batch and granularity are in it.
        rolled: one loop over the shared stack instead of unrolled passes.
        engine: the engine the file is for, where a format has more than one.
        puzzles: real ones, for calibration.
        shared: the reference, and results of other jobs of the same model that can be reused.
        integer_io: int8 I/O instead of float32; the contract has it once the job is built.
        keep: short names of the layers that stay float32.
        recipe: the calibration document of an earlier export of the same model, from which the
            grids are taken instead of a new calibration.
    """

    model: StepModel
    contract: StepContract
    rolled: bool
    engine: str
    puzzles: Puzzles
    shared: Shared
    integer_io: bool = False
    keep: tuple[str, ...] = ()
    recipe: str | None = None


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: the command's name, and that of its entry in `HOST_KINDS`.
        packages: distributions whose versions go into the contract.
        write: writes a job to a path that does not exist yet, in the contract's names and with
            the contract inside; returns the documents that go with the file, if any.
        rolls: whether a rolled recursion is the default for this contract, by measurement.
        refusals: why this job is not supported, a sentence a reason.
    """

    name: str
    packages: tuple[str, ...]
    write: Callable[[Job, Path], Documents | None]
    rolls: Callable[[StepContract], bool]
    refusals: Callable[[Job], Iterator[str]]

    @property
    def suffix(self) -> str:
        """Of the file; empty for a folder."""
        return HOST_KINDS[self.name].file.suffix

    @property
    def batch(self) -> int | None:
        """Rows of a call by default; None for a dynamic batch."""
        return HOST_KINDS[self.name].batch

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that the files can be made for, the default first."""
        return HOST_KINDS[self.name].targets


def without_operators(kind: str, standard: str, names: Iterable[str]) -> UsageError:
    """The refusal of a model that uses operators of TensorFlow which a format does not have."""
    used = ", ".join(sorted(set(names)))
    return UsageError(
        f"{kind}: the model uses operators that {standard} does not have: {used}; export it to "
        "saved-model, which has all of TensorFlow's."
    )


def refuse_quantized(model: keras.Model) -> Iterator[str]:
    """The refusal of a model whose weights Keras has rounded, which no precision describes."""
    modes = {getattr(layer, "quantization_mode", None) for layer in model._flatten_layers()}
    if is_own(model) and any(modes):
        yield (
            "The model is quantized by Keras (its method `quantize`); export the float model, with "
            "precision int8 for int8 weights."
        )


def refuse_half(job: Job, kind: str) -> Iterator[str]:
    """The refusal of a format whose engines compute in float32 alone."""
    dtype = job.model.keras.compute_dtype
    if dtype != "float32":
        yield (
            f"{kind}: the model computes in {dtype}, but only float32 models are supported; export "
            "it to saved-model, which takes it, or build the model with dtype float32 and load the "
            "weights into it."
        )
