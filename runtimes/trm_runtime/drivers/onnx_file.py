"""The `.onnx` file without an engine: its format, its checksum and its contract.

The contract is the entry `trm_contract` of the model's metadata. The last bytes of the file are one
more entry, `trm_file.sha256`: the digest, in hexadecimal, of every byte before that entry. Protobuf
allows fields in any order, so other readers see an ordinary entry; here a single changed bit is
detected before an engine opens the file, and a file that another tool rewrote is refused as well.

Standard library only; only a limited number of bytes of an untrusted file is read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path
from typing import Union

from trm_runtime.contract import MAX_CONTRACT_BYTES, METADATA_KEY
from trm_runtime.drivers.onnx_wire import external_tensors, metadata_value, with_metadata
from trm_runtime.drivers.refusals import copy_or_seal, damaged, long_contract, no_contract
from trm_runtime.errors import RejectedInputError, unreadable
from trm_runtime.message_text import first_line
from trm_runtime.regular_file import open_regular

CHECKSUM_KEY = "trm_file.sha256"
KIND, TITLE = "onnx", "an ONNX file"
NO_TEXT = "the name of a tensor or of a size is not UTF-8 text"

Model = Union[bytes, mmap.mmap]


def _field(number: int, size: int) -> bytes:
    """The protobuf header of a field of `size` bytes, at most 127."""
    return bytes((number << 3 | 2, size))


_KEY = CHECKSUM_KEY.encode()
_DIGITS = hashlib.sha256().digest_size * 2
_ENTRY = _field(1, len(_KEY)) + _KEY + _field(2, _DIGITS)  # StringStringEntryProto: key, value
_HEAD = _field(14, len(_ENTRY) + _DIGITS) + _ENTRY  # ModelProto.metadata_props
_SEAL_BYTES = len(_HEAD) + _DIGITS


def sealed(model: bytes) -> bytes:
    """A serialised model with its checksum at the end; replaces an older one."""
    body = model[:-_SEAL_BYTES] if _has_seal(model) else model
    return body + _HEAD + hashlib.sha256(body).hexdigest().encode()


def seal(path: str | os.PathLike[str]) -> None:
    """Give a file a new checksum, after a deliberate change."""
    file = Path(path)
    file.write_bytes(sealed(file.read_bytes()))


def replace_contract(path: Path, contract: str) -> None:
    """Give an undamaged file another contract, and so another checksum; the rest is unchanged."""
    model = path.read_bytes()
    path.write_bytes(sealed(with_metadata(model, METADATA_KEY, contract.encode())))


def read_contract(path: Path) -> str:
    """The contract's JSON text.

    Raises RejectedInputError for a file that cannot be read, is not an ONNX model, has data in
    other files, has no readable contract of a limited size, or does not match its checksum.
    """
    try:
        with open_regular(path) as file:  # mapped, so that this takes no memory
            model = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        outside = external_tensors(model)
        value = metadata_value(model, METADATA_KEY)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise damaged(path, TITLE, first_line(error), KIND) from error
    if outside:
        summary = f"{path}: has data in other files, which is refused; export it as one file:"
        raise RejectedInputError(summary, outside)
    if value is None:
        raise no_contract(path, f"no metadata key {METADATA_KEY!r}", KIND)
    problem = seal_problem(model)
    if problem:
        raise RejectedInputError(f"{path}: {problem}.")
    return contract_text(value, path)


def contract_text(value: memoryview, path: Path) -> str:
    """The text of the metadata entry; RejectedInputError if it is too long or not text."""
    if len(value) > MAX_CONTRACT_BYTES:
        raise long_contract(path, KIND)
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        reason = f"its step contract is not UTF-8 text ({error.reason} at byte {error.start})"
        raise damaged(path, TITLE, reason, KIND) from error


def seal_problem(model: Model) -> str | None:
    """The problem with the checksum, with the remedy; None if it is right."""
    if not _has_seal(model):
        return (
            f"has no checksum at its end (metadata key {CHECKSUM_KEY!r}), so it is damaged, or "
            f"another tool wrote it again; {copy_or_seal(KIND, __name__)}"
        )
    with memoryview(model) as view:
        body = hashlib.sha256(view[:-_SEAL_BYTES]).hexdigest().encode()
        fits = body == view[-_DIGITS:]
    if fits:
        return None
    remedy = copy_or_seal(KIND, __name__)
    return f"does not match its checksum, so it is damaged, or was changed; {remedy}"


def _has_seal(model: Model) -> bool:
    start = len(model) - _SEAL_BYTES
    return start > 0 and model[start : start + len(_HEAD)] == _HEAD
