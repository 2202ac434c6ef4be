"""Goldens as files: an .npz, which numpy can open as well.

It has the arrays of every chunk as `chunk/00000/<name>.npy`, those of the refilled slots as
`refilled/<name>.npy`, the rest as `golden.json`, and at the end `SHA256SUMS` of all other members.
The same recording gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast, overload

import numpy as np

from trm_runtime.contract import GOLDEN_FORMAT, GOLDEN_INDEX, StepContract
from trm_runtime.digest import digest
from trm_runtime.errors import RejectedInputError, unreadable
from trm_runtime.file_kinds import suffix_kind
from trm_runtime.json_values import plain
from trm_runtime.limits import MEMORY_MB
from trm_runtime.message_text import counted
from trm_runtime.npy import Header, read_header
from trm_runtime.parity.golden import Chunk, ChunkSize, Golden, GoldenOrigin, RefilledSlots
from trm_runtime.parity.golden_rules import (
    Headers,
    bytes_in_memory,
    header_problems,
    index_problems,
    value_problems,
)
from trm_runtime.regular_file import open_regular, too_large
from trm_runtime.strict_json import parse
from trm_runtime.zip_members import DAMAGE, check_members, opened_archive, read_member

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

SCHEMA_VERSION = 1
_SUMS = "SHA256SUMS"
_MAX_INDEX, _MAX_SUMS = 1 << 23, 1 << 26  # bytes; of real ones some 100 kB
_NPY = ".npy"


class _Archive(zipfile.ZipFile):
    """One that is given up without `close`, after an error, stays as it is."""

    def __del__(self) -> None:
        """Nothing: the file may be closed by now, and what is in it is of no use."""


class GoldenWriter:
    """Writes a golden in parts; the file is not valid before `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = _Archive(file, "w")
        self._sums: list[str] = []
        self._sizes: list[int] = []

    def chunk(self, chunk: Chunk) -> None:
        """Adds the next chunk."""
        self.arrays(chunk_arrays(chunk), f"chunk/{len(self._sizes):05d}")
        self._sizes.append(len(chunk))

    def arrays(self, arrays: Arrays, folder: str) -> None:
        """Adds arrays under a folder, floats uncompressed, integers compressed."""
        for name, array in arrays.items():
            method = zipfile.ZIP_STORED if array.dtype.kind == "f" else zipfile.ZIP_DEFLATED
            self._member(f"{folder}/{name}.npy", _npy(array), method)

    def finish(self, contract: StepContract, about: GoldenOrigin, refilled: RefilledSlots) -> None:
        """Adds the refilled slots, the index and the checksums."""
        self.arrays(refilled_arrays(refilled), "refilled")
        index = {
            "format": GOLDEN_FORMAT,
            "schema_version": SCHEMA_VERSION,
            "contract": contract.document(),
            "kind": about.kind,
            "task": about.task,
            "provenance": about.provenance,
            "control": about.control,
            "chunks": self._sizes,
            "shown": refilled.puzzles,
        }
        text = json.dumps(plain(index), indent=1, allow_nan=False, ensure_ascii=False)
        self._member(GOLDEN_INDEX, text.encode(), zipfile.ZIP_DEFLATED)
        self._zip.writestr(zipfile.ZipInfo(_SUMS), "".join(self._sums))
        self._zip.close()

    def _member(self, name: str, data: bytes, method: int) -> None:
        info = zipfile.ZipInfo(name)
        info.compress_type = method
        self._zip.writestr(info, data)
        self._sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")


def _npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def write_golden(file: BinaryIO, golden: Golden) -> None:
    """Write a complete golden."""
    writer = GoldenWriter(file)
    for chunk in golden.chunks:
        writer.chunk(chunk)
    writer.finish(golden.contract, golden.about, golden.refilled)


def read_golden(path: str | Path) -> Golden:
    """Open a golden; each chunk is read at its use.

    Every byte is checked first. Raises RejectedInputError for a file that is damaged, was not
    made by this tool, or has another schema.
    """
    path = Path(path)
    try:
        with open_regular(path) as file, opened_archive(file) as archive:
            _verify(path, archive, os.fstat(file.fileno()).st_size)
            index = parse(read_member(archive, GOLDEN_INDEX, _MAX_INDEX).decode())
            headers = {name[: -len(_NPY)]: _header(archive, name) for name in _arrays_in(archive)}
    except OSError as error:
        raise unreadable(path, error) from error
    except DAMAGE as error:
        raise _not_a_golden(path) from error
    if not isinstance(index, dict) or index.get("format") != GOLDEN_FORMAT:
        raise _not_a_golden(path)
    if index.get("schema_version") != SCHEMA_VERSION:
        raise RejectedInputError(
            f"{path}: a golden of schema {index.get('schema_version')!r:.60}, but this trm-runtime "
            f"reads {SCHEMA_VERSION}; upgrade it with `pip install --upgrade trm-runtime`."
        )
    contract = StepContract.from_json(json.dumps(index.get("contract")), f"{path}: its contract")
    return _opened(path, contract, index, headers)


def _not_a_golden(path: Path, problems: Sequence[str] = ()) -> RejectedInputError:
    kind = suffix_kind(path)
    if kind is not None or path.suffix.lower() == ".keras":
        found = "a Keras model" if kind is None else kind.described
        return RejectedInputError(
            f"{path}: {found}, not a golden; the model comes first, then its golden."
        )
    said = f"{path}: not a golden, or a damaged one; record it again with `trm-export reference`"
    if problems:
        return RejectedInputError(f"{said}:", problems)
    return RejectedInputError(f"{said}.")


def _opened(
    path: Path, contract: StepContract, index: Mapping[str, Any], headers: Headers
) -> Golden:
    """The golden, if its arrays are those of its contract."""
    counts, shown = index.get("chunks"), index.get("shown")
    problems = index_problems(contract, counts, shown)
    problems = problems or list(header_problems(contract, counts or [], headers))
    if problems or counts is None or shown is None:
        raise _not_a_golden(path, problems)
    if bytes_in_memory(contract, headers) > MEMORY_MB.bytes:
        raise too_large(f"{path}: its largest chunk", MEMORY_MB)
    sizes = tuple(
        ChunkSize(n, headers[f"chunk/{number:05d}/followed"].shape[0])
        for number, n in enumerate(counts)
    )
    stored = StoredArrays(path, contract)
    refilled = refilled_from(stored.folder("refilled"), shown)
    chunks = StoredChunks(stored, [size.puzzles for size in sizes])
    return Golden(contract, _origin(path, index), sizes, chunks, refilled)


def _origin(path: Path, index: Mapping[str, Any]) -> GoldenOrigin:
    kind, task = index.get("kind"), index.get("task")
    provenance, control = index.get("provenance"), index.get("control")
    texts = isinstance(kind, str) and isinstance(task, (str, type(None)))
    if not texts or not isinstance(provenance, dict):
        raise _not_a_golden(path, ["kind, task or provenance: of another type"])
    about = GoldenOrigin(str(kind), task, provenance, control)
    try:
        _ = about.floor
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _not_a_golden(path, ["control: not the differences of each step"]) from error
    return about


def _arrays_in(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if name not in (GOLDEN_INDEX, _SUMS)]


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    """The head of an array; ValueError for another file."""
    info = archive.getinfo(name)
    if not name.endswith(_NPY):
        raise ValueError(f"{name}: not an array")
    with archive.open(info) as member:
        return read_header(cast(BinaryIO, member), info.file_size)


def _verify(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    """Check that every member is there once, and equals its checksum."""
    check_members(archive, size)
    wanted = {}
    for line in read_member(archive, _SUMS, _MAX_SUMS).decode("ascii").splitlines():
        digest, _, name = line.partition("  ")
        wanted[name] = digest
    names = [name for name in archive.namelist() if name != _SUMS]
    if sorted(names) != sorted(wanted):
        raise ValueError("members are missing, or more than were written")
    bad = [name for name in names if not _is_undamaged(archive, name, wanted[name])]
    if bad:
        raise RejectedInputError(
            f"{path}: damaged in {counted(len(bad), 'member')}: {', '.join(bad[:3])}; copy it "
            "again, or record it again with `trm-export reference`."
        )


def _is_undamaged(archive: zipfile.ZipFile, name: str, checksum: str) -> bool:
    try:
        with archive.open(name) as member:
            return digest(member) == checksum
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return False


class StoredArrays:
    """The arrays of a golden file, by name; they have been checked against the contract."""

    def __init__(self, path: Path, contract: StepContract) -> None:
        self._path, self._contract = path, contract

    def folder(self, folder: str) -> dict[str, Array]:
        """All arrays under a folder, by their names in it.

        Raises RejectedInputError if the file has changed since it was checked.
        """
        try:
            with open_regular(self._path) as file, opened_archive(file) as archive:
                names = [name for name in archive.namelist() if name.startswith(f"{folder}/")]
                return {name[len(folder) + 1 : -len(_NPY)]: _array(archive, name) for name in names}
        except OSError as error:
            raise unreadable(self._path, error) from error
        except DAMAGE as error:
            raise _not_a_golden(self._path) from error

    def chunk(self, number: int, first: int) -> Chunk:
        """One chunk; RejectedInputError also for values that are out of range."""
        chunk = chunk_from(self.folder(f"chunk/{number:05d}"), first)
        problems = value_problems(self._contract, chunk)
        if problems:
            raise _not_a_golden(self._path, problems)
        return chunk


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(name) as member:
        found: Array = np.lib.format.read_array(member, allow_pickle=False)
    return found


class StoredChunks(Sequence[Chunk]):
    """The chunks of a golden file, each read at its use."""

    def __init__(self, stored: StoredArrays, sizes: Sequence[int]) -> None:
        self._stored, self._starts = stored, [0, *itertools.accumulate(sizes)][:-1]

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, number: int) -> Chunk: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Chunk]: ...
    def __getitem__(self, number: int | slice) -> Chunk | Sequence[Chunk]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        number = range(len(self))[number]  # IndexError ends an iteration
        return self._stored.chunk(number, self._starts[number])

    def __iter__(self) -> Iterator[Chunk]:
        return (self[number] for number in range(len(self)))


def chunk_arrays(chunk: Chunk) -> dict[str, Array]:
    """A chunk as named arrays, integers in the smallest dtype that fits."""
    found = {f"tokens/{name}": _small(array) for name, array in chunk.tokens.items()}
    if chunk.labels is not None:
        found["labels"] = _small(chunk.labels)
    for name in ("cells", "steps", "followed"):
        found[name] = _small(getattr(chunk, name))
    found.update({"scores": chunk.scores, "margins": chunk.margins})
    found.update({f"states/{name}": _small(array) for name, array in chunk.states.items()})
    return found


def chunk_from(arrays: Arrays, first: int) -> Chunk:
    """The inverse of `chunk_arrays`."""
    labels = arrays.get("labels")
    return Chunk(
        first=first,
        tokens=_tensors(arrays, "tokens"),
        labels=None if labels is None else labels.astype(np.int32),
        cells=arrays["cells"].astype(np.int32),
        scores=arrays["scores"],
        margins=arrays["margins"],
        steps=arrays["steps"].astype(np.int32),
        followed=arrays["followed"].astype(np.int64),
        states=_tensors(arrays, "states"),
    )


def refilled_arrays(refilled: RefilledSlots) -> dict[str, Array]:
    """Refilled slots as named arrays."""
    found = {f"inputs/{name}": _small(array) for name, array in refilled.inputs.items()}
    found.update({f"states/{name}": _small(array) for name, array in refilled.states.items()})
    return {"numbers": _small(refilled.numbers), **found}


def refilled_from(arrays: Arrays, shown: int) -> RefilledSlots:
    """The inverse of `refilled_arrays`."""
    numbers = arrays["numbers"].astype(np.int64)
    return RefilledSlots(numbers, shown, _tensors(arrays, "inputs"), _tensors(arrays, "states"))


def _tensors(arrays: Arrays, folder: str) -> dict[str, Array]:
    """The arrays of one folder, integers as int32 again."""
    inside = {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith(f"{folder}/")}
    return {n: a.astype(np.int32) if a.dtype.kind in "iu" else a for n, a in inside.items()}


_SIZES: Iterable[Any] = (np.uint8, np.int8, np.int16, np.int32)


def _small(array: Array) -> Array:
    """Integers in the smallest dtype that fits; other arrays unchanged."""
    if array.dtype.kind not in "iu":
        return array
    least, most = int(array.min(initial=0)), int(array.max(initial=0))
    for dtype in _SIZES:
        limits = np.iinfo(dtype)
        if limits.min <= least and most <= limits.max:
            return array.astype(dtype)
    return array
