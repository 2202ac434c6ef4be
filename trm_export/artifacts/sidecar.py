"""The contract beside an exported file, and what is wrong where one of the two is missing."""

from __future__ import annotations

from pathlib import Path

from trm_export.errors import RejectedInputError
from trm_export.files import is_ours, sidecar
from trm_runtime.contract import MAX_CONTRACT_BYTES, StepContract


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


def lost_contract(file: Path) -> tuple[str, ...]:
    """The complaint about a file without a contract that is an export all the same.

    Its contract lies beside it, or is named in it; somebody else's file has neither.
    """
    beside = f"{sidecar(file).name} beside it"
    if sidecar_state(file, None) == "differs":
        shown = f"its contract, which {beside} shows, is missing"
    elif is_ours(file):
        shown = "its contract, whose name is still in it, cannot be read"
    else:
        return ()
    return (f"it is cut short or was changed: {shown}; copy it again, or export it again",)


def sidecar_text(file: Path) -> str:
    """The text of a contract file; RejectedInputError where it is no small UTF-8 file."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_CONTRACT_BYTES + 1)
    except OSError as error:
        raise RejectedInputError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_CONTRACT_BYTES:
        raise RejectedInputError(
            f"{file}: not a step contract: more than {MAX_CONTRACT_BYTES} bytes"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{file}: not UTF-8 text: {error}") from error
