"""`import_checkpoint`: a checkpoint of the official PyTorch code as a `.keras` file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import ARTIFACTS, FilePath, names_of, path_of
from trm_export.checkpoints.torch_names import the_checkpoint
from trm_export.files import atomic_write, refuse_overwrite, require_suffix
from trm_runtime.display import Shown, Table
from trm_runtime.file_kinds import named
from trm_runtime.json_values import json_object

__all__ = ["ImportResult", "import_checkpoint", "the_checkpoint"]

if TYPE_CHECKING:
    import keras

    from trm_export.importing import ImportReport


@dataclass(frozen=True, repr=False)
class ImportResult(Shown):
    """An imported checkpoint: the file that was written, its model, and where it comes from."""

    path: Path
    model: keras.Model
    report: ImportReport

    @property
    def summary(self) -> str:
        """The file, its size and whether its weights are averaged."""
        return f"{self.path}: {self.report.parameters:,} parameters; {self.report.weights}"

    def tables(self) -> tuple[Table, ...]:
        """The checkpoint, and the configuration with the source of each value."""
        return self.report.tables()

    def to_json(self) -> dict[str, Any]:
        """The path and the report, in JSON types."""
        return json_object({"path": self.path, **self.report.to_json()})


def import_checkpoint(
    checkpoint: FilePath,
    path: FilePath | None = None,
    *,
    given: str | Sequence[str] = (),
    dataset: FilePath | None = None,
    puzzle_table: str | None = None,
    force: bool = False,
) -> ImportResult:
    """Writes a `.keras` file with exactly the weights of the checkpoint, in float32.

    Args:
        checkpoint: ``step_<N>`` or ``.pt`` of PyTorch, or the same tensors as ``.safetensors``,
            with ``all_config.yaml`` and ``dataset.json`` beside it or not; or the folder with one
            of these.
        path: the file to write; ``artifacts/<checkpoint>.keras`` if None.
        given: ``"name=value"`` for a setting that the folder does not have, or has wrong; or
            several.
        dataset: another ``dataset.json``, or the folder that holds it.
        puzzle_table: for another data set, as many puzzle embeddings as that has identifiers:
            ``reset`` makes all zero, ``mean`` the mean of those in the checkpoint.
        force: replace a file that this tool did not make.

    Raises:
        UsageError: `given` has unknown names or wrong values, or `path` does not end in ``.keras``.
        MissingExtraError: a PyTorch file without PyTorch.
        CheckpointError: listing everything that is wrong, missing, unexpected or unknown.
        OverwriteError: the file exists and was not made by this tool.
    """
    from trm_export.api.frameworks import load_keras
    from trm_export.checkpoints.keras_file import refuse_keras
    from trm_export.checkpoints.torch_names import require_reader

    source, settings = path_of("checkpoint", checkpoint), names_of("given", given)
    refuse_keras(source)
    target = path_of("path", path, ARTIFACTS / f"{named(source).stem}.keras")
    require_suffix(target, ".keras")
    refuse_overwrite(target, force=force)
    require_reader(source)
    load_keras(any_backend=True)
    from trm_export.importing import import_checkpoint as read

    beside = None if dataset is None else path_of("dataset", dataset)
    model, report = read(source, given=settings, dataset=beside, puzzle_table=puzzle_table)
    with atomic_write(target, force=force) as temporary:
        model.save(temporary)
    return ImportResult(target, model, report)
