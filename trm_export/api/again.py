"""The choices of an exported file, as options of the command that exports it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.artifacts.host_kinds import host_kind
from trm_export.artifacts.inspection import inspect_file
from trm_export.errors import RejectedInputError
from trm_export.files import DOCUMENTS, KEEP, sidecar
from trm_export.own_files import is_ours
from trm_runtime import strict_json
from trm_runtime.file_kinds import CONTRACT
from trm_runtime.integer import has_int8_io, has_int32_halted
from trm_runtime.regular_file import read_regular


def choices_of_file(path: Path) -> dict[str, Any]:
    """Keywords of `export`, those left out that are usual for the format.

    Raises RejectedInputError for a file that is damaged or of another tool.
    """
    contract, kind = embedded_contract(path), host_kind(path)
    if kind is None:
        raise RejectedInputError(f"{path}: not a kind of file that this tool writes.")
    batch = None if contract.batch == kind.batch else contract.batch or "free"
    return {
        "format": kind.file.name,
        "target": getattr(inspect_file(path), "target", None),
        "precision": contract.precision,
        "granularity": contract.granularity,
        "batch": batch,
        "puzzle_table": "internal" if contract.puzzle_table_sha256 is None else "external",
        "integer_io": has_int8_io(contract),
        "ports": "int32" if has_int32_halted(contract) else "bool",
        "keep": _kept(sidecar(path, KEEP)),
    }


def in_its_place(path: Path) -> dict[str, Any]:
    """The keywords that replace a file, also where another program changed some of it."""
    written = (path, *(sidecar(path, ending) for ending in (CONTRACT, *DOCUMENTS)))
    changed = any(one.exists() and not is_ours(one) for one in written)
    return {"output": path, **({"force": True} if changed else {})}


def _kept(document: Path) -> tuple[str, ...]:
    """The layers that the document beside a file lists; none without it."""
    try:
        found: Any = strict_json.parse(read_regular(document).decode())
        return tuple(map(str, found["kept_in_float"]))
    except (OSError, ValueError, KeyError, TypeError, RejectedInputError):
        return ()
