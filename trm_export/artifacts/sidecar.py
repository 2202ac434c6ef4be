"""The sidecar of an exported file: the contract beside it, compared with the one inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trm_export.errors import RejectedInputError
from trm_export.files import sidecar
from trm_export.own_files import names_contract
from trm_runtime.contract import MAX_CONTRACT_BYTES, StepContract
from trm_runtime.regular_file import open_regular

_NAMED = 4  # fields


def sidecar_state(file: Path, contract: StepContract | None) -> str:
    """How the contract beside a file compares: "same", "differs", "missing", or the complaint."""
    beside = sidecar(file)
    if not beside.exists():
        return "missing"
    try:
        other = StepContract.from_json(sidecar_text(beside), str(beside))
    except RejectedInputError as error:
        return str(error)
    return "same" if other == contract else "differs"


def differing_fields(file: Path, contract: StepContract) -> str:
    """The first fields in which the contract beside a file differs from the one inside it."""
    beside = sidecar(file)
    other = StepContract.from_json(sidecar_text(beside), str(beside))
    names = tuple(_differing(contract.document(), other.document()))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Names of the fields that differ; one inside a field is `field.name`."""
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from (f"{name}.{inner}" for inner in _differing(one, other))
        elif one != other:
            yield name


def lost_contract(file: Path) -> tuple[str, ...]:
    """The problem with a file of this tool that has lost its contract; empty for other files.

    An export of this tool has its contract beside it, or at least its name inside it.
    """
    if sidecar_state(file, None) == "differs":
        reason = f"it has no contract, but {sidecar(file).name} lies beside it"
    elif names_contract(file):
        reason = "its contract cannot be read, but the name of one is inside"
    else:
        return ()
    return (f"truncated or changed: {reason}; copy it again, or export it again",)


def complaints(file: Path, error: RejectedInputError) -> tuple[str, ...]:
    """Why a file was refused, as problems to be listed: without its name, and no sentences."""
    return (error.summary.removeprefix(f"{file}: ").rstrip(".:"), *error.problems)


def sidecar_text(file: Path) -> str:
    """The text of a contract file; RejectedInputError unless it is a small UTF-8 file."""
    try:
        with open_regular(file) as opened:
            data = opened.read(MAX_CONTRACT_BYTES + 1)
    except OSError as error:
        raise RejectedInputError(f"{file}: cannot be read: {error.strerror}.") from error
    if len(data) > MAX_CONTRACT_BYTES:
        raise RejectedInputError(
            f"{file}: not a step contract: more than {MAX_CONTRACT_BYTES} bytes."
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{file}: not UTF-8 text: {error}.") from error
