"""The `.tflite` file without an engine: its format, its checksum and its contract.

A ZIP archive is appended to the flatbuffer, which interpreters ignore. Its member
`trm_contract.json` is the contract. Its member `trm_flatbuffer.sha256`, if present, is the digest
of everything before the archive, in hexadecimal: an interpreter that does not verify flatbuffers
(tflite-runtime) crashes on a damaged one, so damage must be found before it opens the file.

Standard library only; only a limited number of bytes of an untrusted file is read.
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, NoReturn

from trm_runtime.contract import MAX_CONTRACT_BYTES, METADATA_KEY
from trm_runtime.digest import digest
from trm_runtime.drivers.refusals import damaged, long_contract, no_contract
from trm_runtime.errors import RejectedInputError, unreadable
from trm_runtime.message_text import first_few, first_line
from trm_runtime.regular_file import open_regular
from trm_runtime.zip_members import DAMAGED, member_bytes

KIND, TITLE = "tflite", "a TFLite file"
CONTRACT_MEMBER = f"{METADATA_KEY}.json"
CHECKSUM_MEMBER = "trm_flatbuffer.sha256"
MAX_DIRECTORY_BYTES = 1 << 20  # of the archive; about 60 for each member

_IDENTIFIER = b"TFL3"  # at offset 4 of the flatbuffer
_END = b"PK\x05\x06"
_END_SIZE, _LONGEST_COMMENT = 22, 0xFFFF


def append_contract(path: Path, contract: str) -> None:
    """Add the contract and the checksum to a flatbuffer."""
    with path.open("rb") as file:
        checksum = digest(file)
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in ((CONTRACT_MEMBER, contract), (CHECKSUM_MEMBER, checksum)):
            archive.writestr(zipfile.ZipInfo(name), text)  # without a time: repeatable bytes


def replace_contract(path: Path, contract: str) -> None:
    """Give an undamaged file another contract; its flatbuffer is unchanged.

    Raises RejectedInputError if the archive has other files, which would be lost.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    others = [m.filename for m in members if m.filename not in (CONTRACT_MEMBER, CHECKSUM_MEMBER)]
    if others:
        raise RejectedInputError(
            f"{path}: its ZIP archive has other files than a contract, which would be lost; remove "
            "them:",
            first_few(others),
        )
    with path.open("r+b") as file:
        file.truncate(min(member.header_offset for member in members))
    append_contract(path, contract)


def read_contract(path: Path) -> str:
    """The contract's JSON text.

    Raises RejectedInputError for a file that cannot be read, is not a TFLite model, has no readable
    contract of a limited size, or does not match its checksum.
    """
    try:
        with open_regular(path) as file:
            start = file.read(8)
            if start[4:] != _IDENTIFIER:
                _refuse(path, "the letters TFL3 are not at offset 4")
            _check_directory(path, file)
            return _read(path, file)
    except OSError as error:
        raise unreadable(path, error) from error


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Check the last bytes first, because `zipfile` reads a directory of any size into memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        _lacks(path, "no ZIP archive at its end, so it is truncated or not from trm-export")
    (directory,) = struct.unpack_from("<L", tail, at + 12)
    if directory > MAX_DIRECTORY_BYTES:
        _lacks(path, f"the directory of its ZIP archive has {directory:,} bytes, not about 150")


def _read(path: Path, file: BinaryIO) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            contract = _member(path, archive, CONTRACT_MEMBER)
            checksum = _member(path, archive, CHECKSUM_MEMBER)
            end = min((member.header_offset for member in members), default=0)
    except DAMAGED as error:
        _lacks(path, f"its ZIP archive is damaged ({first_line(error)})")
    if contract is None:
        _lacks(path, f"no member {CONTRACT_MEMBER!r} in its ZIP archive")
    if checksum is not None and checksum.strip() != digest(file, end):
        _refuse(path, f"its flatbuffer does not match its checksum ({CHECKSUM_MEMBER})")
    return contract


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> str | None:
    if name not in archive.namelist():
        return None
    if archive.getinfo(name).file_size > MAX_CONTRACT_BYTES:
        raise long_contract(path, KIND)
    return member_bytes(archive, name, MAX_CONTRACT_BYTES).decode("utf-8")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise damaged(path, TITLE, reason, KIND)


def _lacks(path: Path, reason: str) -> NoReturn:
    raise no_contract(path, reason, KIND)
