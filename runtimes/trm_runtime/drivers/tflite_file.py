"""The `.tflite` file without an engine: is it one, is it whole, and what contract does it carry?

A ZIP archive is appended to the flatbuffer, which interpreters ignore. Its member
`trm_contract.json` is the contract. Its member `trm_flatbuffer.sha256`, where present, is the
digest of everything before the archive, in hexadecimal: an interpreter that does not verify
flatbuffers (tflite-runtime) crashes on a damaged one, so damage must show before it opens the file.

Standard library only; what is read of an untrusted file is bounded.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, NoReturn

from trm_runtime.contract import MAX_CONTRACT_BYTES, METADATA_KEY
from trm_runtime.digest import digest
from trm_runtime.errors import RejectedInputError
from trm_runtime.message_text import first_few

CONTRACT_MEMBER = f"{METADATA_KEY}.json"
CHECKSUM_MEMBER = "trm_flatbuffer.sha256"
MAX_DIRECTORY_BYTES = 1 << 20  # of the archive; some 60 a member

_IDENTIFIER = b"TFL3"  # at offset 4 of the flatbuffer
_END = b"PK\x05\x06"
_END_SIZE, _LONGEST_COMMENT = 22, 0xFFFF
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)


def append_contract(path: Path, contract: str) -> None:
    """Complete a bare flatbuffer with its contract and its checksum."""
    with path.open("rb") as file:
        checksum = digest(file)
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in ((CONTRACT_MEMBER, contract), (CHECKSUM_MEMBER, checksum)):
            archive.writestr(zipfile.ZipInfo(name), text)  # no time in it: the same bytes each time


def replace_contract(path: Path, contract: str) -> None:
    """Give a whole file another contract; its flatbuffer stays as it is.

    Raises RejectedInputError where the archive holds files of somebody else, which would be lost.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    others = [m.filename for m in members if m.filename not in (CONTRACT_MEMBER, CHECKSUM_MEMBER)]
    if others:
        raise RejectedInputError(
            f"{path}: its ZIP archive holds more than a contract, which would be lost:",
            first_few(others),
        )
    with path.open("r+b") as file:
        file.truncate(min(member.header_offset for member in members))
    append_contract(path, contract)


def read_contract(path: Path) -> str:
    """The contract's JSON text.

    Raises RejectedInputError for a file that cannot be read, is no TFLite model, carries no
    readable contract of a sane size, or is not what its checksum says.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start[4:] != _IDENTIFIER:
                _refuse(path, "the letters TFL3 are not at offset 4")
            _check_directory(path, file)
            return _read(path, file)
    except OSError as error:
        raise RejectedInputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Look at the last bytes, because `zipfile` reads a directory of any size into memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        _lacks(path, "expected a ZIP archive at its end, got none: it was cut short or is not ours")
    (directory,) = struct.unpack_from("<L", tail, at + 12)
    if directory > MAX_DIRECTORY_BYTES:
        _lacks(path, f"the directory of its ZIP archive has {directory} bytes; ours has about 150")


def _read(path: Path, file: BinaryIO) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            contract = _member(path, archive, CONTRACT_MEMBER)
            checksum = _member(path, archive, CHECKSUM_MEMBER)
            end = min((member.header_offset for member in members), default=0)
    except _UNREADABLE as error:
        _lacks(path, f"its ZIP archive is damaged: {error}")
    if contract is None:
        _lacks(path, f"expected the member {CONTRACT_MEMBER!r} in its ZIP archive, got none")
    if checksum is not None and checksum.strip() != digest(file, end):
        _refuse(path, f"its flatbuffer is not the one of its checksum ({CHECKSUM_MEMBER})")
    return contract


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> str | None:
    if name not in archive.namelist():
        return None
    info = archive.getinfo(name)
    if info.file_size > MAX_CONTRACT_BYTES:
        _lacks(path, f"{name} has {info.file_size} bytes, more than {MAX_CONTRACT_BYTES}")
    with archive.open(info) as member:
        return member.read().decode("utf-8")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise RejectedInputError(
        f"{path}: not a TFLite file, or a damaged one: {reason}; copy it again, or export it "
        "again with: trm-export tflite MODEL.keras"
    )


def _lacks(path: Path, reason: str) -> NoReturn:
    raise RejectedInputError(
        f"{path}: holds no step contract, so nothing is known of its carry: {reason}; export it "
        "again with: trm-export tflite MODEL.keras"
    )
