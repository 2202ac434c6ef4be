"""`inspect`: the contents of a file, without running it and without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import FilePath, names_of, path_of
from trm_runtime.display import Shown, Table

if TYPE_CHECKING:
    from trm_export.artifacts.info_tables import FileInfo
    from trm_runtime.contract import StepContract


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """The contents of a file; falsy for an export that is damaged or contradicts its contract.

    Attributes:
        info: the facts about a file of this kind.
    """

    info: FileInfo

    def __bool__(self) -> bool:
        return bool(self.info)

    @property
    def path(self) -> str:
        """The file or folder."""
        return self.info.path

    @property
    def contract(self) -> StepContract | None:
        """The step contract of an export; None for a model, or for a file of another tool."""
        found: StepContract | None = getattr(self.info, "contract", None)
        return found

    @property
    def problems(self) -> tuple[str, ...]:
        """Why an export is damaged, or contradicts its contract; empty for a model."""
        return tuple(getattr(self.info, "problems", ()))

    @property
    def summary(self) -> str:
        """The file, its kind, and whether it is damaged."""
        (_, kind), *_ = self.tables()[0].rows
        return f"{self.path}: {kind}, {'undamaged' if self else 'DAMAGED'}"

    def tables(self) -> tuple[Table, ...]:
        """The file, its contract and its tensors, or its configuration."""
        from trm_export.artifacts.info_tables import info_tables

        return info_tables(self.info)

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return self.info.to_json()


def inspect(path: FilePath, *, trust: Sequence[str] = ()) -> Inspection:
    """The contents of a `.keras`, `.onnx`, `.tflite` or contract file, or of an exported folder.

    Args:
        path: the file or folder.
        trust: packages whose classes a `.keras` file may name; none is imported.

    Raises RejectedInputError for a file that is missing, refused or of another kind.
    """
    from trm_export.artifacts.inspection import inspect_file

    return Inspection(inspect_file(path_of("path", path), names_of("trust", trust)))
