"""The `.onnx` file without an engine: is it one, is it whole, and what contract does it carry?

The contract is the entry `trm_contract` of the model's metadata. The last bytes of the file are one
more entry, `trm_file.sha256`: the digest, in hexadecimal, of every byte before that entry. Protobuf
takes fields in any order, so that other readers see an ordinary entry; here a single changed bit
shows before an engine opens the file, and a file that another tool wrote anew is refused as well.

Standard library only; what is read of an untrusted file is bounded.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path
from typing import Union

from trm_runtime.contract import MAX_CONTRACT_BYTES, METADATA_KEY
from trm_runtime.drivers.onnx_wire import external_tensors, metadata_value, with_metadata
from trm_runtime.errors import RejectedInputError
from trm_runtime.message_text import first_few

CHECKSUM_KEY = "trm_file.sha256"

_AGAIN = "export it again with: trm-export onnx MODEL.keras"

Model = Union[bytes, mmap.mmap]


def _field(number: int, size: int) -> bytes:
    """What protobuf puts before `size` bytes, at most 127, of the field of that number."""
    return bytes((number << 3 | 2, size))


_KEY = CHECKSUM_KEY.encode()
_DIGITS = hashlib.sha256().digest_size * 2
_ENTRY = _field(1, len(_KEY)) + _KEY + _field(2, _DIGITS)  # StringStringEntryProto: key, value
_HEAD = _field(14, len(_ENTRY) + _DIGITS) + _ENTRY  # ModelProto.metadata_props
_SEAL_BYTES = len(_HEAD) + _DIGITS


def sealed(model: bytes) -> bytes:
    """A serialised model with its checksum at the end, in place of one that is there."""
    body = model[:-_SEAL_BYTES] if _has_seal(model) else model
    return body + _HEAD + hashlib.sha256(body).hexdigest().encode()


def seal(path: str | os.PathLike[str]) -> None:
    """Give a file a new checksum, after it was changed on purpose."""
    file = Path(path)
    file.write_bytes(sealed(file.read_bytes()))


def replace_contract(path: Path, contract: str) -> None:
    """Give a whole file another contract, and so another checksum; nothing else changes."""
    model = path.read_bytes()
    path.write_bytes(sealed(with_metadata(model, METADATA_KEY, contract.encode())))


def read_contract(path: Path) -> str:
    """The contract's JSON text.

    Raises RejectedInputError for a file that cannot be read, is no ONNX model, keeps data in other
    files, carries no readable contract of a sane size, or is not what its checksum says.
    """
    try:
        with path.open("rb") as file:  # mapped, so that this takes no memory
            model = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        outside = external_tensors(model)
    except OSError as error:
        raise RejectedInputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RejectedInputError(f"{path}: not an ONNX file, or a damaged one: {error}") from error
    if outside:
        summary = f"{path}: keeps data in other files, which is refused; export it as one file:"
        raise RejectedInputError(summary, first_few(outside))
    value = metadata_value(model, METADATA_KEY)
    if value is None:
        raise RejectedInputError(
            f"{path}: holds no step contract (metadata key {METADATA_KEY!r}), so nothing is known "
            f"of its carry; {_AGAIN}"
        )
    problem = seal_problem(model)
    if problem:
        raise RejectedInputError(f"{path}: {problem}")
    return contract_text(value, path)


def contract_text(value: memoryview, path: Path) -> str:
    """The text of the metadata entry; RejectedInputError where it is too long or no text."""
    if len(value) > MAX_CONTRACT_BYTES:
        raise RejectedInputError(
            f"{path}: its step contract has {len(value)} bytes, more than {MAX_CONTRACT_BYTES}; "
            f"{_AGAIN}"
        )
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise RejectedInputError(
            f"{path}: its step contract is not UTF-8 text ({error.reason} at byte {error.start}); "
            f"{_AGAIN}"
        ) from error


def seal_problem(model: Model) -> str | None:
    """What is wrong with the checksum, or None where it fits."""
    if not _has_seal(model):
        return (
            f"has no checksum at its end (metadata key {CHECKSUM_KEY!r}): it is damaged, or was "
            f"written anew by another tool; {_remedy()}"
        )
    with memoryview(model) as view:
        body = hashlib.sha256(view[:-_SEAL_BYTES]).hexdigest().encode()
        fits = body == view[-_DIGITS:]
    if fits:
        return None
    return f"its bytes are not those of its checksum: it is damaged, or was changed; {_remedy()}"


def _has_seal(model: Model) -> bool:
    start = len(model) - _SEAL_BYTES
    return start > 0 and model[start : start + len(_HEAD)] == _HEAD


def _remedy() -> str:
    return (
        f"copy it again, or {_AGAIN} (if it was changed on purpose, "
        "trm_runtime.drivers.onnx_file.seal gives it a new checksum)"
    )
