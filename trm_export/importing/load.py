"""`import_checkpoint`: an official checkpoint as a Keras model, strictly.

Every tensor is used once, none is missing, each has the shape that the configuration requires. All
problems are listed at once, before a large model is built.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trm_export.checkpoints.torch_names import MAX_BYTES
from trm_export.errors import CheckpointError, ConfigurationError, UsageError, reason_of
from trm_export.files import sha256_file
from trm_export.importing.folder import Folder, read_folder
from trm_export.importing.import_report import ImportReport
from trm_export.importing.layout import differences, places
from trm_export.importing.settings import Setting, Settings, alphabet, parse_given, resolve
from trm_export.importing.shapes import PUZZLE, facts
from trm_export.importing.tensors import Checkpoint, read_checkpoint
from trm_export.model import TRM, TRMConfig
from trm_export.model.weightless import without_weights
from trm_export.step.weights import not_finite

ROWS, TABLES = "num_puzzle_identifiers", ("reset", "mean")
_SHAPELESS = {"num_heads": 1, "pos_encodings": "none"}  # no shape depends on them


def import_checkpoint(
    path: str | os.PathLike[str],
    *,
    given: Sequence[str] = (),
    dataset: Path | None = None,
    puzzle_table: str | None = None,
) -> tuple[TRM, ImportReport]:
    """The Keras model of the official checkpoint at `path`, in float32, and where it comes from.

    Args:
        path: a ``step_<N>`` or ``.pt`` file of PyTorch, or the same tensors as ``.safetensors``,
            with ``all_config.yaml`` and ``dataset.json`` beside it or not.
        given: ``"name=value"`` for settings that the folder does not have, or has wrong.
        dataset: another ``dataset.json``, or the folder that holds it.
        puzzle_table: for another data set, as many puzzle embeddings as that has identifiers:
            ``reset`` makes all zero, ``mean`` the mean of those in the checkpoint.

    Raises:
        UsageError: `given` has unknown names or wrong values.
        MissingExtraError: a PyTorch file without PyTorch.
        CheckpointError: listing everything that is wrong, missing, unexpected or unknown.
    """
    options = parse_given(given)
    checkpoint = read_checkpoint(Path(path))
    folder = read_folder(checkpoint.path, dataset)
    if puzzle_table is not None:
        checkpoint = _with_table(checkpoint, puzzle_table, folder, options)
    settings = resolve(facts(checkpoint.arrays), folder, options)
    problems = [*checkpoint.problems, *settings.problems]
    if not problems:
        settings = _with_alphabet(settings, folder)
    problems += _misfits(checkpoint, settings)
    problems += not_finite(checkpoint.arrays)
    if problems:
        raise CheckpointError(f"{path}: cannot be imported:", problems)
    model = TRM(**settings.arguments(), dtype="float32")
    for name, place in places(model).items():
        place.assign(checkpoint.arrays[name])
    return model, _report(checkpoint, folder, settings)


def _with_table(
    checkpoint: Checkpoint, kind: str, folder: Folder, given: Mapping[str, Setting]
) -> Checkpoint:
    """The checkpoint with a new puzzle table; UsageError without its size, or without a table."""
    option = given.get(ROWS)
    rows = (folder.dataset or {}).get(ROWS) if option is None else option.value
    table = checkpoint.arrays.get(PUZZLE)
    if kind not in TABLES or table is None or table.ndim != 2:
        wanted = " or ".join(TABLES)
        raise UsageError(
            f"--puzzle-table must be {wanted}, and is for a checkpoint with puzzle embeddings."
        )
    most = MAX_BYTES // (4 * max(table.shape[1], 1))
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= most:
        raise UsageError(
            f"--puzzle-table {kind} needs the number of identifiers of the new data set; give its "
            f"dataset.json by --dataset, or --set {ROWS}=N."
        )
    row = table.astype(np.float32).mean(axis=0) if kind == "mean" else np.zeros(table.shape[1])
    new = np.tile(row.astype(np.float32), (rows, 1))
    return replace(checkpoint, arrays={**checkpoint.arrays, PUZZLE: new})


def _with_alphabet(settings: Settings, folder: Folder) -> Settings:
    setting = alphabet(settings.arguments(), folder)
    return settings if setting is None else replace(settings, values=(*settings.values, setting))


def _misfits(checkpoint: Checkpoint, settings: Settings) -> list[str]:
    """How the tensors differ from those of the configuration, as far as that is known."""
    arguments = settings.arguments()
    shaped = arguments.get("mixer") == "mlp" or arguments.get("pos_encodings") == "learned"
    gaps = {} if shaped else {"seq_len": 1, "puzzle_emb_len": 0}
    try:
        config = TRMConfig(**{**_SHAPELESS, **gaps, **arguments})
    except ConfigurationError as error:
        return [reason_of(error)]
    except TypeError:  # sizes are missing, which is a problem already
        return []
    try:
        with without_weights():
            return list(differences(places(TRM(**config.to_dict())), checkpoint.arrays))
    except (MemoryError, OverflowError, ValueError) as error:
        return [f"the configuration cannot be built: {reason_of(error)}"]


def _report(checkpoint: Checkpoint, folder: Folder, settings: Settings) -> ImportReport:
    arrays = checkpoint.arrays
    table = arrays.get(PUZZLE, np.zeros(0))
    dtype = folder.arch.get("forward_dtype")
    return ImportReport(
        checkpoint=str(checkpoint.path),
        kind=checkpoint.kind,
        size=checkpoint.path.stat().st_size,
        sha256=sha256_file(checkpoint.path),
        config_file=_text(folder.config_file),
        dataset_file=_text(folder.dataset_file),
        prefixes=checkpoint.prefixes,
        dtypes=dict(Counter(array.dtype.name for array in arrays.values())),
        tensors=len(arrays),
        parameters=sum(array.size for array in arrays.values()),
        puzzle_parameters=table.size,
        ema=folder.ema,
        forward_dtype=dtype if isinstance(dtype, str) else None,
        settings=settings.values,
        notes=settings.notes,
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
