"""Write another contract into an exported file, into its sidecar, and update its checksums.

Everything else in the file stays byte for byte. Needs no engine and no Keras.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from trm_export.errors import RejectedInputError
from trm_export.files import atomic_write, refuse_overwrite, require_suffix, sidecar
from trm_runtime.contract import StepContract
from trm_runtime.file_kinds import kind_of
from trm_runtime.puzzle_table import table_beside


def embedded_contract(artifact: Path) -> StepContract:
    """The contract inside an undamaged file or folder, as its driver reads it.

    Raises RejectedInputError for one that is missing, of unknown kind, damaged or changed.
    """
    text = kind_of(artifact).read_contract(artifact)
    return StepContract.from_json(text, f"{artifact}: its step contract")


def refuse_rewrite(artifact: Path, target: Path, *, force: bool = False) -> None:
    """Raises, before long work, what `rewrite` would raise for its target."""
    require_suffix(target, "" if artifact.is_dir() else artifact.suffix)
    for path in (target, sidecar(target)):
        refuse_overwrite(path, force=force)


def rewrite(artifact: Path, contract: StepContract, target: Path, *, force: bool = False) -> None:
    """Writes `target`, which may be the artifact itself, with that contract, atomically.

    A puzzle table beside the artifact is copied too. Raises OverwriteError for a target that this
    tool did not make, without `force`; RejectedInputError if the contract cannot be embedded.
    """
    refuse_rewrite(artifact, target, force=force)
    kind = kind_of(artifact)
    with ExitStack() as files:  # closed in reverse: the contract beside it is renamed last
        beside = files.enter_context(atomic_write(sidecar(target), force=force))
        new = files.enter_context(atomic_write(target, force=force))
        if contract.puzzle_table_sha256 is not None and not _same(artifact, target):
            table = files.enter_context(atomic_write(table_beside(target), force=force))
            shutil.copyfile(table_beside(artifact), table)
        _copy(artifact, new)
        kind.replace_contract(new, contract.to_json())
        if embedded_contract(new) != contract:
            raise RejectedInputError(
                f"{artifact}: the contract reads back differently than it was written; "
                "nothing was changed."
            )
        beside.write_text(contract.to_json(), encoding="utf-8")


def _copy(artifact: Path, new: Path) -> None:
    if artifact.is_dir():
        new.unlink()
        shutil.copytree(artifact, new)
    else:
        shutil.copyfile(artifact, new)


def _same(artifact: Path, target: Path) -> bool:
    return os.path.realpath(artifact) == os.path.realpath(target)
