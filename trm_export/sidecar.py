"""The contract beside an artifact, compared with the one inside it."""

from __future__ import annotations

from pathlib import Path

from trm_export.errors import RejectedInputError
from trm_runtime.contract import StepContract


def compare_sidecar(file: Path, contract: StepContract | None) -> str:
    """ "same", "differs", "missing", or why ``<file>.json`` cannot be read."""
    beside = file.with_name(file.name + ".json")
    if not beside.exists():
        return "missing"
    try:
        other = StepContract.from_json(beside.read_text(encoding="utf-8"), str(beside))
    except (OSError, UnicodeDecodeError, RejectedInputError) as error:
        return str(error)
    return "same" if other == contract else "differs"
