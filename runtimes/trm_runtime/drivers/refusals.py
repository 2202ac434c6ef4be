"""The errors that all drivers raise for a file: one text each, whatever the engine.

Standard library only. Knows no format and no engine; `kind` is the name of a format in
`trm_runtime.file_kinds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trm_runtime.contract import MAX_CONTRACT_BYTES
from trm_runtime.errors import RejectedInputError, TRMError
from trm_runtime.memory_errors import lacks_memory
from trm_runtime.message_text import first_line


def again(kind: str) -> str:
    """The remedy for a file that can only be replaced."""
    return f"export it again with `trm-export {kind} MODEL.keras`"


def copy_or_seal(kind: str, module: str) -> str:
    """The remedy for a file that does not match its checksum; `module` has a function `seal`."""
    return (
        f"copy it again, or {again(kind)} (after a deliberate change, {module}.seal gives it a new "
        "checksum)"
    )


def damaged(path: Path, title: str, reason: str, kind: str) -> RejectedInputError:
    """For a file that is not one of that title, such as "an ONNX file"."""
    return RejectedInputError(
        f"{path}: not {title}, or a damaged one: {reason}; copy it again, or {again(kind)}."
    )


def no_contract(path: Path, reason: str, kind: str) -> RejectedInputError:
    """For a file without a contract."""
    return RejectedInputError(f"{path}: has no step contract: {reason}; {again(kind)}.")


def long_contract(path: Path, kind: str) -> RejectedInputError:
    """For a contract that is too long to be read."""
    return RejectedInputError(
        f"{path}: its step contract is longer than {MAX_CONTRACT_BYTES:,} bytes; {again(kind)}."
    )


def no_signature(
    path: Path, expected: str, signatures: Sequence[str], kind: str
) -> RejectedInputError:
    """For a file without the signature that its contract names."""
    names = ", ".join(signatures) or "none"
    return RejectedInputError(
        f"{path}: expected the signature {expected!r}, got {names}; {again(kind)}."
    )


def cannot_open(path: Path, engine: str, reason: str, kind: str) -> TRMError:
    """For a file that the engine refuses, or that it has no memory for."""
    if lacks_memory(reason):
        return TRMError(f"{path}: {engine} has not enough memory to open it; free some.")
    return RejectedInputError(
        f"{path}: {engine} cannot open it: {reason}; update {engine}, or {again(kind)}."
    )


def cannot_step(path: Path, engine: str, error: Exception, reason: str = "") -> TRMError:
    """For a call that the engine could not finish, or that it has no memory for.

    `reason` is for an error whose first line does not say what happened.
    """
    if lacks_memory(error):
        return TRMError(
            f"{path}: {engine} has not enough memory for a step; use a smaller batch, or another "
            "device."
        )
    reason = reason or first_line(error)
    return RejectedInputError(
        f"{path}: {engine} could not run a step: {reason}; try another version of {engine}."
    )
