"""Write files atomically: a killed process leaves the old file or the new one, nothing else.

A file was made by this tool, and may be replaced without `force`, if its content shows it:

- a folder of generated code holds the contract and the code;
- `.keras`  its `config.json` names `trm_export>TRM`;
- an exported file, of any kind of `trm_runtime.file_kinds`: the step contract is embedded in it, or
  lies beside it as `<file>.json`; an exported folder holds it as a file;
- `.npz`    it holds the index of a golden;
- `.npy`    it is a puzzle table, beside the contract of its artifact;
- `.json`   it is a step contract, or an object whose `tool` begins with `trm-export`;
- `.txt`    its first line is a remark that begins with `# trm-export`;
- `.c`, `.h`  its first line is a remark that begins with `/* trm-export`;
- `.xml`, `.sarif`  for build servers: it names this tool as theirs do;
- `.sig`    it is a signature of a model, in the format of `trm_runtime.signature`;
- `.html`, `.md`  a report: it names this tool as its generator, or in its first line.

Every other existing file was made by another program. Knows nothing about models or puzzles.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import mmap
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trm_export import file_commit
from trm_export.errors import OverwriteError, RejectedInputError, TargetError, UsageError
from trm_export.leftovers import removed_by
from trm_export.version import TOOL
from trm_runtime import strict_json
from trm_runtime.contract import (
    GOLDEN_FORMAT,
    GOLDEN_INDEX,
    METADATA_KEY,
    PUZZLE_TABLE_SUFFIX,
    StepContract,
)
from trm_runtime.file_kinds import beside, folder_kind, suffix_kind
from trm_runtime.regular_file import read_regular
from trm_runtime.signature import is_signature
from trm_runtime.streams import FULL
from trm_runtime.zip_members import DAMAGE, opened_archive, read_member

MODEL_CLASS = "trm_export>TRM"  # the name Keras registers our model under
CONTRACT, CALIBRATION, KEEP = ".json", ".calibration.json", ".keep.json"  # see `sidecar`
MEASURED, RECORDING = ".measured.json", ".golden.npz"
MICRO = ".micro.json"  # what a firmware with tflite-micro needs to know
C_SOURCE, C_HEADER = ".c", ".h"  # a file for tflite-micro as a C array
SOURCE_CODE, SOURCE_MEMORY = "model.c", "memory.json"  # files in a folder of generated code
SOURCE_CONTRACT = f"{METADATA_KEY}.json"
_OF_DISKS = FULL | {errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS}
_HURRY = 0.2  # seconds
_TEXT_REMARK = f"# {TOOL}".encode()
_MARKDOWN_REMARK = f"<!-- {TOOL}".encode()
_C_REMARK = f"/* {TOOL}".encode()
_GENERATOR = f'<meta name="generator" content="{TOOL}'.encode()
_SUITES = f'<testsuites name="{TOOL}"'.encode()
_DRIVER = f'"driver": {{"name": "{TOOL}"'.encode()
_HEAD = 512  # bytes of a page in which the generator stands
VECTORS_INDEX = "vectors.json"  # of a folder of vectors
_TEXT_HEAD = 1 << 20  # bytes of a file that show whether it is text
_GROWING = (".md", ".txt")  # the suffixes of our files to which text may be added


def sidecar(artifact: Path, ending: str = CONTRACT) -> Path:
    """Where a document of an exported file lies, by default its contract: `<artifact><ending>`."""
    return beside(artifact, ending)


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` with the same suffix; on success it becomes `path`.

    The caller writes one file there, or puts a folder in its place. When the block ends it is
    flushed to disk and renamed; when the block raises, `KeyboardInterrupt` included, it is removed
    and `path` stays as it was.

    Raises OverwriteError for a file this tool did not make (without `force`), TargetError where
    nothing can be written. The parent directory is created.
    """
    with write_together(force=force) as writing:
        yield writing(path)


@contextmanager
def write_together(*, force: bool = False) -> Iterator[Callable[[str | os.PathLike[str]], Path]]:
    """`atomic_write` of files that belong together: the function yielded gives a path for each.

    When the block ends all of a folder get their names, or none. A process that is killed while
    they do leaves it to the next command on one of them (`file_commit.recover`). Those of another
    folder, behind a symbolic link, are a group of their own. The first are put in place first.
    """
    token, targets = secrets.token_hex(4), []

    def writing(path: str | os.PathLike[str]) -> Path:
        target = refuse_overwrite(path, force=force)
        temporary = file_commit.temporary_name(target, token)
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            file_commit.remove_stale(target)
            targets.append(target)
            temporary.touch()
        return temporary

    def discard(wait: float = -1) -> None:
        for group in _by_folder(targets):
            file_commit.discard(group, token, wait)

    with removed_by(lambda: discard(_HURRY)):
        try:
            with _unwritten(token, targets):
                yield writing
            for group in _by_folder(targets):
                with explained(group[0]):
                    file_commit.commit(group, token)
        finally:
            discard()


def _by_folder(targets: Iterable[Path]) -> list[list[Path]]:
    groups: dict[Path, list[Path]] = {}
    for target in targets:
        groups.setdefault(target.parent, []).append(target)
    return list(groups.values())


def refuse_overwrite(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """The file that writing to `path` would replace, symbolic links followed.

    Call it before long work, so that it fails early. Raises OverwriteError for an existing file
    that this tool did not make, unless `force`; TargetError for anything but a plain file.
    """
    target = Path(path)
    with explained(target):
        if target.is_symlink():
            target = Path(os.path.realpath(target))
        file_commit.recover(target.parent)
        if not target.exists():
            return target
        if target.is_dir() and folder_kind(target) is None and not is_source(target):
            raise TargetError(f"{target} is a directory; name a file in it instead.")
        if not target.is_file() and not target.is_dir():
            raise TargetError(f"{target} is not a plain file and will not be replaced.")
    if not force and not is_ours(target):
        raise OverwriteError(
            f"{target} exists and was not made by {TOOL}; choose another name or add --force."
        )
    return target


def require_suffix(path: str | os.PathLike[str], suffix: str) -> None:
    """UsageError unless writing to `path` writes a file of that suffix; "" means a folder.

    A symbolic link is followed: what it points to must be named so too.
    """
    for name in dict.fromkeys((str(path), os.path.realpath(path))):
        found = Path(name).suffix
        if suffix and found != suffix:
            raise UsageError(f"{name} must end in {suffix}; choose another name.")
        if not suffix and _recogniser(Path(name)) is not None:
            raise UsageError(f"{name} names a file, but a folder is written; drop {found}.")


def refuse_source(
    path: str | os.PathLike[str], source: str | os.PathLike[str], what: str = "the model itself"
) -> None:
    """UsageError if writing to `path` would replace `source`, or the folder that it lies in.

    `what` names the source in the message.
    """
    target, model = Path(path), Path(source).resolve()
    with explained(target):
        if not target.exists():
            return
        paths = [file for file in (model, *model.parents) if file.exists()]
        taken = [file for file in paths if target.samefile(file)]
    if taken:
        verb = "is" if taken == [model] else "contains"
        raise UsageError(f"{target} {verb} {what} ({source}); choose another name.")


def refuse_append(path: str | os.PathLike[str]) -> None:
    """UsageError unless Markdown can be added to `path`: a new file, or one of text.

    Raises TargetError for a folder, and for a file that cannot be read.
    """
    target = Path(os.path.realpath(path))
    if _recogniser(target) is not None and target.suffix.lower() not in _GROWING:
        raise UsageError(f"{path} is no name of a Markdown file; choose another name.")
    with explained(Path(path)):
        if (target.is_file() or target.is_dir()) and not _is_text(target):
            raise UsageError(f"{path} is no text file, so nothing is added; choose another name.")


def is_ours(path: Path) -> bool:
    """Whether an existing file was made by this tool, by the rules at the top of this module."""
    if path.is_dir():
        return _is_our_folder(path)
    recognise = _recogniser(path)
    return recognise is not None and recognise(path)


def is_source(path: Path) -> bool:
    """Whether a folder has the files by which one of generated code is known."""
    return all((path / name).is_file() for name in (SOURCE_CODE, SOURCE_CONTRACT))


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_our_keras(path: Path) -> bool:
    return _zipped_json(path, "config.json").get("registered_name") == MODEL_CLASS


def _zipped_json(path: Path, name: str) -> dict[str, object]:
    """The JSON object that is this member of a zip file; an empty one where there is none."""
    try:
        with path.open("rb") as file, opened_archive(file) as archive:
            found = strict_json.parse(read_member(archive, name).decode())
    except (OSError, *DAMAGE):
        return {}
    return found if isinstance(found, dict) else {}


def _is_our_artifact(path: Path) -> bool:
    """The contract is found by the name it is kept under, or beside the file."""
    return _contains(path, METADATA_KEY.encode()) or _is_contract(sidecar(path))


def _is_our_table(path: Path) -> bool:
    artifact = path.name.removesuffix(PUZZLE_TABLE_SUFFIX)
    return artifact != path.name and _is_contract(sidecar(path.with_name(artifact)))


def _is_our_golden(path: Path) -> bool:
    return _zipped_json(path, GOLDEN_INDEX).get("format") == GOLDEN_FORMAT


def _is_our_folder(path: Path) -> bool:
    """An export has its contract as a file, at the place that is its format's; vectors an index."""
    if is_source(path):
        return _is_contract(path / SOURCE_CONTRACT)
    if folder_kind(path) is None:
        return _is_our_json(path / VECTORS_INDEX)
    return any(_is_contract(file) for file in path.rglob(f"{METADATA_KEY}.json"))


def _is_our_json(path: Path) -> bool:
    if _is_contract(path):
        return True
    value = _read_json(path)
    return isinstance(value, dict) and str(value.get("tool", "")).startswith(TOOL)


def _is_our_text(path: Path) -> bool:
    return _head(path, len(_TEXT_REMARK)) == _TEXT_REMARK


def _is_our_markdown(path: Path) -> bool:
    return _head(path, len(_MARKDOWN_REMARK)) == _MARKDOWN_REMARK


def _is_our_c_file(path: Path) -> bool:
    return _head(path, len(_C_REMARK)) == _C_REMARK


def _is_our_junit(path: Path) -> bool:
    return _SUITES in _head(path, _HEAD)


def _is_our_sarif(path: Path) -> bool:
    return _DRIVER in b" ".join(_head(path, _HEAD).split()).replace(b"{ ", b"{")


def _is_our_page(path: Path) -> bool:
    return _GENERATOR in _head(path, _HEAD)


def _is_text(path: Path) -> bool:
    """Whether the first bytes of a file are UTF-8 without NUL; OSError for a folder."""
    with path.open("rb") as file:
        head = file.read(_TEXT_HEAD)
    try:
        whole = len(head) < _TEXT_HEAD
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head, whole)
    except UnicodeDecodeError:
        return False


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _is_contract(path: Path) -> bool:
    try:
        StepContract.from_json(read_regular(path).decode())
    except (OSError, UnicodeDecodeError, RejectedInputError):
        return False
    return True


def _read_json(path: Path) -> object:
    try:
        return strict_json.parse(read_regular(path).decode())
    except (OSError, ValueError, RejectedInputError):
        return None


def _contains(path: Path, marker: bytes) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(marker) >= 0
    except (OSError, ValueError):  # ValueError: an empty file
        return False


_RECOGNISERS: dict[str, Callable[[Path], bool]] = {
    C_SOURCE: _is_our_c_file,
    C_HEADER: _is_our_c_file,
    ".html": _is_our_page,
    ".json": _is_our_json,
    ".keras": _is_our_keras,
    ".md": _is_our_markdown,
    ".npz": _is_our_golden,
    ".npy": _is_our_table,
    ".sarif": _is_our_sarif,
    ".sig": is_signature,
    ".txt": _is_our_text,
    ".xml": _is_our_junit,
}


def _recogniser(path: Path) -> Callable[[Path], bool] | None:
    """The function that recognises our files of that suffix; None for a suffix we do not use."""
    known = _RECOGNISERS.get(path.suffix.lower())
    return _is_our_artifact if known is None and suffix_kind(path) else known


@contextmanager
def _unwritten(token: str, targets: Sequence[Path]) -> Iterator[None]:
    """Name the target where the caller could not write its temporary file.

    Python names no file when a write, and not the opening, fails: then an error of a disk is about
    the target, and any other error is not.
    """
    try:
        yield
    except OSError as error:
        written = {str(file_commit.temporary_name(target, token)): target for target in targets}
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if not named:
            found = targets[:1] if error.errno in _OF_DISKS else []
        else:
            found = [written[new] for new in written if any(n.startswith(new) for n in named)]
        if not found:
            raise
        raise TargetError(f"{found[0]} cannot be written: {error.strerror or error}.") from error


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """TargetError naming the target in the place of any OSError."""
    try:
        yield
    except OSError as error:
        raise TargetError(f"{target} cannot be written: {error.strerror or error}.") from error


def distinct_names(files: Sequence[Path]) -> list[str]:
    """The name of each file, with as many folders before it as tell it from the others."""
    paths = [file.absolute().parts for file in files]
    lengths = [1] * len(paths)
    while True:
        names = ["/".join(path[-n:]) for path, n in zip(paths, lengths, strict=True)]
        longer = [
            min(n + (names.count(name) > 1), len(path))
            for path, n, name in zip(paths, lengths, names, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer
