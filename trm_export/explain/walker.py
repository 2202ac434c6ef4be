"""What `explain` must know of a kind of file; one `WALKER` beside the walk of each format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.explain.op_diff import Arrays, Labels, StoredChange, Walk
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.shared import Shared
from trm_runtime.parity import Gates


@dataclasses.dataclass(frozen=True)
class View:
    """What is known while one file is looked into.

    Attributes:
        shared: the model that it should be.
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
    """How files of one kind are looked into.

    Attributes:
        kept: ``f(file, layers)``, the names of the layers that a file stores in float32.
        stored: ``f(view, candidate, fresh)``, tensors that a fresh export stores otherwise.
        walk: ``f(view, candidate, right, calls, gates, exact)``, the operators of a file against
            those of a right one, which is ``exact`` where it is in fp32 and the file is not.
        labels: ``f(fresh, layers)``, the layers of stored tensors by their numbers, of a fresh
            export in the same precision, or in fp32 for int8-static; None where names tell.
    """

    kept: Callable[[Path, Arrays], tuple[str, ...]]
    stored: Callable[[View, Path, Path], tuple[StoredChange, ...]]
    walk: Callable[[View, Path, Path, Sequence[Arrays], Gates, bool], Walk]
    labels: Callable[[Path, Arrays], Labels] | None = None


def walker_of(name: str) -> Walker:
    """The walker of the format of that name, which must have one."""
    kind = HOST_KINDS[name]
    found: Walker = kind.load(kind.walker)
    return found
