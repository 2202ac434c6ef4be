"""The interface of `explain` to a kind of file; each format has one `WALKER`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.explain.op_diff import Arrays, Labels, StoredChange, Walk
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.shared import Shared
from trm_export.step.step_model import StepModel
from trm_export.stored.contents import Contents
from trm_runtime.parity import Gates


@dataclasses.dataclass(frozen=True)
class View:
    """The facts about one file that is analysed.

    Attributes:
        shared: the model that it is an export of.
        labels: see `Walker.labels`.
        precision: of the file.
    """

    shared: Shared
    labels: Labels
    precision: str

    @property
    def layers(self) -> Arrays:
        """The matrices of the model by their short names."""
        return layers(self.shared.model)


@dataclasses.dataclass(frozen=True)
class Walker:
    """How files of one kind are analysed.

    Attributes:
        kept: ``f(file, layers)``, the names of the layers that a file stores in float32.
        stored: ``f(view, candidate, new)``, tensors that differ from those of a new export.
        walk: ``f(view, candidate, right, calls, gates, exact)``, the operators of a file against
            those of a correct one, which is ``exact`` if it is in fp32 and the file is not.
        contents: ``f(file, model)``, what a file stores and computes.
        labels: ``f(new, layers)``, the layers of stored tensors by their numbers, of a new export
            in the same precision, or in fp32 for int8-static; None where names identify them.
    """

    kept: Callable[[Path, Arrays], tuple[str, ...]]
    stored: Callable[[View, Path, Path], tuple[StoredChange, ...]]
    walk: Callable[[View, Path, Path, Sequence[Arrays], Gates, bool], Walk]
    contents: Callable[[Path, StepModel], Contents]
    labels: Callable[[Path, Arrays], Labels] | None = None


def walker_of(name: str) -> Walker:
    """The walker of the format of that name, which must have one."""
    kind = HOST_KINDS[name]
    walker: Walker = kind.load(kind.walker)
    return walker
