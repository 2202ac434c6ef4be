"""Write another contract into an exported file, into its sidecar, and update its checksums.

Everything else in the file stays byte for byte. Needs no engine and no Keras.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from trm_export.errors import RejectedInputError
from trm_export.files import (
    DOCUMENTS,
    MEASURED,
    refuse_overwrite,
    remove_others,
    require_suffix,
    sidecar,
    write_together,
)
from trm_export.own_files import is_ours
from trm_runtime import strict_json
from trm_runtime.contract import PUZZLE_TABLE_SUFFIX, StepContract
from trm_runtime.digest import tree_digest
from trm_runtime.file_kinds import kind_of
from trm_runtime.open import embedded_contract as embedded_contract
from trm_runtime.puzzle_table import table_found
from trm_runtime.regular_file import read_regular

DIGEST = "file_sha256"
"""The key of the errors of single steps (`files.MEASURED`) for the file that they are of."""


def refuse_rewrite(artifact: Path, target: Path, *, force: bool = False) -> None:
    """Raises, before long work, what `rewrite` would raise for its target."""
    _refuse(artifact, target, _measured(artifact), force)


def _refuse(artifact: Path, target: Path, facts: dict[str, Any] | None, force: bool) -> None:
    require_suffix(target, "" if artifact.is_dir() else artifact.suffix)
    measured = [] if facts is None else [sidecar(target, MEASURED)]
    for path in (target, sidecar(target), *measured, *_copied(artifact, target)):
        refuse_overwrite(path, force=force)


def rewrite(
    artifact: Path, contract: StepContract, target: Path, *, force: bool = False
) -> tuple[Path, ...]:
    """Writes `target`, which may be the artifact itself, under that contract, and it beside it.

    What lies beside the artifact goes with it: a puzzle table, and the documents of its export,
    because another contract changes neither its weights nor its steps. Those of a file that the
    target replaces are removed. All are written or none (`files.write_together`). Of a target that
    is a symbolic link, the file behind it is written, and the documents where `sidecar` says.

    Returns the written files, the target first. Raises OverwriteError for a target that is not ours
    without `force`, RejectedInputError where the contract cannot be put in.
    """
    facts = _measured(artifact)
    _refuse(artifact, target, facts, force)
    kind = kind_of(artifact)
    copies = _copied(artifact, target)
    written = {sidecar(target): contract.to_json()}
    with write_together(force=force) as writing:
        for copy, original in copies.items():
            shutil.copyfile(original, writing(copy))
        new = writing(target)
        _copy(artifact, new)
        kind.replace_contract(new, contract.to_json())
        if embedded_contract(new) != contract:
            raise RejectedInputError(
                f"{artifact}: the contract reads back differently than it was written; "
                "nothing was changed."
            )
        if facts is not None:
            bound = {**facts, DIGEST: tree_digest(new)}
            written[sidecar(target, MEASURED)] = json.dumps(bound) + "\n"
        for path, text in written.items():
            writing(path).write_text(text, encoding="utf-8")
    if not _same(artifact, target):
        remove_others(target, {**copies, **written})
    return target, *written, *copies


def _copied(artifact: Path, target: Path) -> dict[Path, Path]:
    """What lies beside the artifact and holds for any copy of it, by its new place."""
    if _same(artifact, target):
        return {}
    found = {
        sidecar(target, ending): sidecar(artifact, ending)
        for ending in DOCUMENTS
        if ending != MEASURED
    }
    copied = {new: old for new, old in found.items() if old.is_file() and is_ours(old)}
    table = table_found(artifact)
    if table.is_file():
        copied[sidecar(target, PUZZLE_TABLE_SUFFIX)] = table
    return copied


def _measured(artifact: Path) -> dict[str, Any] | None:
    """The errors of single steps that were measured of this file; None where there are none."""
    with contextlib.suppress(OSError, RejectedInputError, ValueError, KeyError, TypeError):
        facts: Any = strict_json.parse(read_regular(sidecar(artifact, MEASURED)).decode())
        if facts[DIGEST] == tree_digest(artifact):
            return dict(facts)
    return None


def _copy(artifact: Path, new: Path) -> None:
    if not artifact.is_dir():
        shutil.copyfile(artifact, new)
        return
    new.unlink()
    new.mkdir()
    for path in sorted(artifact.rglob("*")):  # `shutil.copytree` would not tell what went wrong
        copy = new / path.relative_to(artifact)
        copy.mkdir() if path.is_dir() else shutil.copyfile(path, copy)


def _same(artifact: Path, target: Path) -> bool:
    return os.path.realpath(artifact) == os.path.realpath(target)
