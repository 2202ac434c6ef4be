"""The `.tflite` file without an engine: its format, its checksum and its contract.

A ZIP archive is appended to the flatbuffer, which interpreters ignore. Its member
`trm_contract.json` is the contract. Its last member, `trm_file.sha256`, is the digest of everything
before that member, in hexadecimal: an interpreter that does not verify flatbuffers (tflite-runtime)
crashes on a damaged one, so damage must be found before it opens the file.

A file whose contract has schema version 1 has `trm_flatbuffer.sha256` instead, the digest of
everything before the archive. It is read with a warning, and written anew with the other one.

Standard library only; only a limited number of bytes of an untrusted file is read.
"""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO, NoReturn

from trm_runtime.contract import MAX_CONTRACT_BYTES, METADATA_KEY, schema_version_of
from trm_runtime.digest import digest
from trm_runtime.drivers.refusals import again, copy_or_seal, damaged, long_contract, no_contract
from trm_runtime.errors import OldFileWarning, RejectedInputError, reading
from trm_runtime.message_text import first_line
from trm_runtime.regular_file import open_regular
from trm_runtime.zip_members import DAMAGE, read_member

KIND, TITLE = "tflite", "a TFLite file"
CONTRACT_MEMBER = f"{METADATA_KEY}.json"
CHECKSUM_MEMBER = "trm_file.sha256"
OLD_CHECKSUM_MEMBER = "trm_flatbuffer.sha256"  # of schema version 1
MAX_DIRECTORY_BYTES = 1 << 20  # of the archive; about 60 for each member

_IDENTIFIER = b"TFL3"  # at offset 4 of the flatbuffer
_END = b"PK\x05\x06"
_END_SIZE, _LONGEST_COMMENT = 22, 0xFFFF


def append_contract(path: Path, contract: str) -> None:
    """Add the contract and, last, the checksum to a flatbuffer."""
    _add_member(path, CONTRACT_MEMBER, contract)
    with path.open("rb") as file:
        checksum = digest(file, _directory(path, file))  # where the next member begins
    _add_member(path, CHECKSUM_MEMBER, checksum)


def _add_member(path: Path, name: str, text: str) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), text)  # without a time: repeatable bytes


def seal(path: Path) -> None:
    """Give a file a new checksum, after a deliberate change of its flatbuffer or its contract.

    Raises what `replace_contract` raises, and RejectedInputError for a file without a contract.
    """
    with path.open("rb") as file:
        _directory(path, file)
        contract = _read(path, file, checked=False)
    replace_contract(path, contract)


def replace_contract(path: Path, contract: str) -> None:
    """Give an undamaged file another contract; its flatbuffer is unchanged.

    Raises RejectedInputError if the archive has other files, which would be lost.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    own = (CONTRACT_MEMBER, CHECKSUM_MEMBER, OLD_CHECKSUM_MEMBER)
    others = [member.filename for member in members if member.filename not in own]
    if others:
        raise RejectedInputError(
            f"{path}: its ZIP archive has other files than a contract, which would be lost; remove "
            "them:",
            others,
        )
    with path.open("r+b") as file:
        file.truncate(min(member.header_offset for member in members))
    append_contract(path, contract)


def read_contract(path: Path) -> str:
    """The contract's JSON text.

    Raises RejectedInputError for a file that cannot be read, is not a TFLite model, has no readable
    contract of a limited size, or does not match its checksum. Warns with OldFileWarning of a file
    whose checksum does not cover the contract.
    """
    with reading(path), open_regular(path) as file:
        start = file.read(8)
        if start[4:] != _IDENTIFIER:
            _refuse(path, "the letters TFL3 are not at offset 4")
        _directory(path, file)
        return _read(path, file)


def _directory(path: Path, file: BinaryIO) -> int:
    """The offset of the archive's directory, which is refused if it is large.

    The last bytes are read first, because `zipfile` reads a directory of any size into memory.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        _lacks(path, "no ZIP archive at its end, so it is truncated or not from trm-export")
    length, offset = struct.unpack_from("<LL", tail, at + 12)
    if length > MAX_DIRECTORY_BYTES:
        _lacks(path, f"the directory of its ZIP archive has {length:,} bytes, not about 150")
    return int(offset)


def _read(path: Path, file: BinaryIO, *, checked: bool = True) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            contract = _member(path, archive, CONTRACT_MEMBER)
            checksum = _member(path, archive, CHECKSUM_MEMBER)
            old = _member(path, archive, OLD_CHECKSUM_MEMBER)
    except DAMAGE as error:
        _lacks(path, f"its ZIP archive is damaged ({first_line(error)})")
    if contract is None:
        _lacks(path, f"no member {CONTRACT_MEMBER!r} in its ZIP archive")
    if checked and checksum is not None:
        _check(path, file, members[-1], checksum)
    elif checked:
        _check_old(path, file, members[0].header_offset, contract, old)
    return contract


def _check(path: Path, file: BinaryIO, last: zipfile.ZipInfo, checksum: str) -> None:
    if last.filename != CHECKSUM_MEMBER:
        _mismatch(path, f"{last.filename!r} is behind its checksum ({CHECKSUM_MEMBER})")
    if checksum.strip() != digest(file, last.header_offset):
        _mismatch(path, f"does not match its checksum ({CHECKSUM_MEMBER})")


def _check_old(path: Path, file: BinaryIO, end: int, contract: str, checksum: str | None) -> None:
    """The checksum of a file of schema version 1."""
    if schema_version_of(contract) != 1:
        _mismatch(path, f"has no checksum (member {CHECKSUM_MEMBER!r} of its ZIP archive)")
    if checksum is None or checksum.strip() != digest(file, end):
        _mismatch(path, f"its flatbuffer does not match its checksum ({OLD_CHECKSUM_MEMBER})")
    warnings.warn(
        f"{path}: an export of schema version 1, whose checksum does not cover its contract; "
        f"{again(KIND)}.",
        OldFileWarning,
        stacklevel=2,
    )


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> str | None:
    if name not in archive.namelist():
        return None
    if archive.getinfo(name).file_size > MAX_CONTRACT_BYTES:
        raise long_contract(path, KIND)
    return read_member(archive, name, MAX_CONTRACT_BYTES).decode("utf-8")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise damaged(path, TITLE, reason, KIND)


def _mismatch(path: Path, problem: str) -> NoReturn:
    raise RejectedInputError(
        f"{path}: {problem}, so it is damaged, or was changed; {copy_or_seal(KIND, __name__)}."
    )


def _lacks(path: Path, reason: str) -> NoReturn:
    raise no_contract(path, reason, KIND)
