"""The sidecar of an exported file: the contract beside it, compared with the one inside."""

from __future__ import annotations

from pathlib import Path

from trm_export.errors import RejectedInputError
from trm_export.files import is_ours, sidecar
from trm_runtime.contract import MAX_CONTRACT_BYTES, StepContract
from trm_runtime.regular_file import open_regular


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
    """The problem with a file of this tool that has lost its contract; empty for other files.

    An export of this tool has its contract beside it, or at least its name inside it.
    """
    if sidecar_state(file, None) == "differs":
        reason = f"it has no contract, but {sidecar(file).name} lies beside it"
    elif is_ours(file):
        reason = "its contract cannot be read, but the name of one is inside"
    else:
        return ()
    return (f"truncated or changed: {reason}; copy it again, or export it again",)


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
