"""The lines of a puzzle file as people have them: UTF-8 or UTF-16, perhaps in gzip or a ZIP.

Bytes that are no UTF-8, such as a Latin-1 remark in another column, become U+FFFD, which no puzzle
has. Standard library only; knows no format of puzzles.
"""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import os
import sys
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from trm_runtime.errors import RejectedInputError, reading, unreadable
from trm_runtime.limits import FILE_MB, JSON_MB
from trm_runtime.message_text import first_line
from trm_runtime.regular_file import bounded, open_regular, too_large
from trm_runtime.zip_members import DAMAGE, opened_archive, read_member

LONGEST = 100_000  # characters in one line; a longer one is not a puzzle

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_OTHER_KINDS = {
    b"PAR1": "a Parquet file; save it as CSV, or its tokens as .npz",
    b"\xd0\xcf\x11\xe0": "an Excel file; save it as CSV",
    b"BZh": "packed by bzip2; unpack it first",
    b"\xfd7zXZ": "packed by xz; unpack it first",
    b"(\xb5/\xfd": "packed by zstd; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"\x93NUMPY": "a NumPy array; save it as `inputs` of an .npz, with numpy.savez",
}


def numbered_lines(source: str, name: str, begun: bytes = b"") -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of a file; "-" is standard input, behind `begun`.

    Raises RejectedInputError for a file that cannot be read, is no text, or has a line that is too
    long, or for more lines in all than a file may have, unpacked.
    """
    try:
        with _opened(source, begun) as file, _text(_unpacked(file, name)) as text:
            left, lines = FILE_MB.bytes, iter(lambda: _line(text), "")
            for number, line in enumerate(lines, start=1):
                if len(line) > LONGEST:
                    _refuse_long(line, number, name)
                left -= len(line)
                if left < 0:
                    raise too_large(name, FILE_MB)
                if "\0" in line:
                    raise RejectedInputError(f"{name}: not a text file: it has binary data.")
                yield number, line.rstrip("\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RejectedInputError(f"{name}: damaged: {error}; copy it again.") from error
    except UnicodeError as error:
        raise RejectedInputError(f"{name}: not a text file: {error}.") from error
    except OSError as error:
        raise unreadable(name, error) from error


def _refuse_long(line: str, number: int, name: str) -> None:
    """Refuse a line above LONGEST unless it starts as JSON does, which may be all of a file."""
    if line[0] not in "{[":
        raise RejectedInputError(
            f"{name} line {number}: more than {LONGEST} characters, expected one puzzle a line."
        )
    if len(line) > JSON_MB.bytes:
        raise too_large(name, JSON_MB)


def whole_document(lines: Iterable[tuple[int, str]], name: str) -> tuple[array[int], str]:
    """The numbers of all lines and their text, for a JSON document of very many short lines.

    Raises RejectedInputError if it is longer than one may be.
    """
    numbers, text, left = array("q"), io.StringIO(), JSON_MB.bytes
    for number, line in lines:
        left -= len(line) + 1
        if left < 0:
            raise too_large(name, JSON_MB)
        text.write(line if not numbers else f"\n{line}")
        numbers.append(number)
    return numbers, text.getvalue()


def _line(text: io.TextIOWrapper) -> str:
    line = text.readline(LONGEST + 1)
    if len(line) <= LONGEST or line[0] not in "{[":
        return line
    return line + text.readline(JSON_MB.bytes)


def _opened(source: str, begun: bytes) -> IO[bytes]:
    if source != "-":
        return open_regular(source)
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    return io.BytesIO(begun + bounded(sys.stdin.buffer, "standard input"))


def _peekable(file: IO[bytes]) -> io.BufferedReader:
    can_peek: Any = file
    return can_peek if hasattr(file, "peek") else io.BufferedReader(can_peek)


def _unpacked(file: IO[bytes], name: str) -> IO[bytes]:
    buffered = _peekable(file)
    head = buffered.peek(8)
    for magic, kind in _OTHER_KINDS.items():
        if head.startswith(magic[:8]):
            raise RejectedInputError(f"{name}: {kind}.")
    if head.startswith(_GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    return _only_member(buffered, name) if head.startswith(_ZIP) else buffered


def _only_member(file: IO[bytes], name: str) -> IO[bytes]:
    try:
        with opened_archive(cast("BinaryIO", file)) as archive:
            member = _name_of_the_only_one(archive, name)
            return io.BytesIO(read_member(archive, member, FILE_MB.bytes))
    except DAMAGE as error:
        raise RejectedInputError(f"{name}: damaged: {first_line(error)}; copy it again.") from error


def _name_of_the_only_one(archive: zipfile.ZipFile, name: str) -> str:
    names = [member for member in archive.namelist() if not member.endswith("/")]
    if any(member.startswith("xl/") for member in names):
        raise RejectedInputError(f"{name}: an Excel file; save it as CSV.")
    if len(names) != 1:
        listed = ", ".join(names[:5]) or "nothing"
        raise RejectedInputError(
            f"{name}: a ZIP archive; expected one file in it, got {listed}; unpack it, and give "
            "the file of the puzzles."
        )
    return names[0]


def _text(file: IO[bytes]) -> io.TextIOWrapper:
    buffered = _peekable(file)
    head = buffered.peek(4)[:4]
    return io.TextIOWrapper(buffered, encoding=_encoding(head), errors="replace")


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) == 4 and (head[::2] == b"\0\0") != (head[1::2] == b"\0\0"):
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a path is read as text: not a folder, and not an .npz.

    Raises RejectedInputError where the system does not tell.
    """
    with reading(path):
        return not (Path(path).is_dir() or Path(path).suffix.lower() == ".npz")
