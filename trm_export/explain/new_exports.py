"""New exports of a model with the choices of a file that is there, for a comparison with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from trm_export.explain.file_choices import choices_of
from trm_export.explain.walker import walker_of
from trm_export.exporters.calibration import reading_recipe
from trm_export.exporters.choices import CALIBRATED, RECURSIONS, Choices
from trm_export.exporters.export import build, plan
from trm_export.exporters.format import Format
from trm_export.exporters.onnx_int8_calibrate import has_scales
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.files import CALIBRATION, sidecar
from trm_export.leftovers import scratch_folder
from trm_export.stored.graph import Arrays, Known, StoredGraph
from trm_runtime.contract import StepContract
from trm_runtime.integer import has_int8_io
from trm_runtime.regular_file import read_regular
from trm_runtime.tensors import AnySpec


@dataclasses.dataclass(frozen=True)
class NewExport:
    """What a new export stores and computes."""

    constants: Arrays
    graph: StoredGraph
    puzzle_table_sha256: str | None


@dataclasses.dataclass(frozen=True)
class NewExports:
    """The new exports that one file can be compared with.

    Attributes:
        shared: the model, which keeps what was exported once.
        path: the file.
        contract: the file's own.
        kind: the file's format.
    """

    shared: Shared
    path: Path
    contract: StepContract
    kind: Format

    def choices(self) -> Iterator[Choices]:
        """The choices of the file; where it does not show its recursion, each."""
        choices = choices_of(self.path, self.shared.model)
        yield choices
        hidden = choices.recursion is None and choices.granularity != "block"
        if hidden and self.shared.model.passes is not None:
            default = self.kind.rolls(self.contract)
            yield dataclasses.replace(choices, recursion=RECURSIONS[not default])

    def made(self, choices: Choices) -> NewExport:
        """The new export with these choices, made once.

        Raises UsageError for choices that the format does not have.
        """
        key = ("new export", self.kind.name, choices, self.recipe, self._ports)
        return self.shared.once(key, partial(self._made, choices))

    @property
    def calibrated(self) -> bool:
        """Whether a document beside the file has what real steps showed."""
        name, precision = self.kind.name, self.contract.precision
        return precision in CALIBRATED or (
            (name, precision) == ("onnx", "int8") and has_scales(self.shared.model)
        )

    @property
    def recipe(self) -> str | None:
        """The calibration document beside a calibrated file; None if it is missing."""
        document = sidecar(self.path, CALIBRATION)
        if not self.calibrated or not document.is_file():
            return None
        with reading_recipe():
            return read_regular(document).decode()

    def are_of_this_version(self) -> bool:
        """Whether this version of everything would write the same file."""
        job = plan(self.shared.model, probe_puzzles(self.shared.model), self.kind, Choices(),
                   self.shared)  # fmt: skip
        ours, theirs = job.contract.made_by, self.contract.made_by
        return (ours.tool, ours.versions) == (theirs.tool, dict(theirs.versions))

    @property
    def _ports(self) -> tuple[AnySpec, ...]:
        """The carry and the outputs of a file with int8 I/O, whose grids are in its contract."""
        known = has_int8_io(self.contract)
        return (*self.contract.carry, *self.contract.outputs) if known else ()

    def _made(self, choices: Choices) -> NewExport:
        """With the recipe and the int8 I/O of the file."""
        model = self.shared.model
        job = plan(model, probe_puzzles(model), self.kind, choices, self.shared)
        job = dataclasses.replace(job, recipe=self.recipe)
        if self._ports:
            carry, outputs = self.contract.carry, self.contract.outputs
            contract = dataclasses.replace(job.contract, carry=carry, outputs=outputs)
            job = dataclasses.replace(job, contract=contract)
        with scratch_folder() as folder:
            path = Path(folder, f"new{self.kind.suffix}")
            job, _ = build(job, self.kind, path)
            contents = walker_of(self.kind.name).contents(path, job.model)
            table = job.contract.puzzle_table_sha256
            return NewExport(contents.constants, contents.graph(Known()), table)
