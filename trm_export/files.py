"""Write files atomically: a killed process leaves the old file or the new one, nothing else.

Only a file that this tool made is replaced without `force`, by the rules of `own_files`. Knows
nothing about models or puzzles.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trm_export import file_commit
from trm_export.errors import OverwriteError, SignatureWarning, TargetError, UsageError
from trm_export.leftovers import removed_by
from trm_export.own_files import (
    is_export_folder,
    is_ours,
    is_text,
    not_ours_because,
    recogniser,
)
from trm_export.own_folders import foreign_files
from trm_export.version import TOOL
from trm_runtime.errors import reading
from trm_runtime.file_kinds import CONTRACT, behind_link, beside_or_behind, suffix_kind
from trm_runtime.scalars import check_flags
from trm_runtime.signature import is_stale, signature_beside
from trm_runtime.streams import FULL

CALIBRATION, KEEP = ".calibration.json", ".keep.json"  # see `sidecar`
MEASURED, RECORDING, PLAN = ".measured.json", ".golden.npz", ".plan.json"
MICRO = ".micro.json"  # what a firmware with tflite-micro needs to know
DOCUMENTS = (CALIBRATION, KEEP, MEASURED, MICRO)  # that an export may have beside its contract
_OF_DISKS = FULL | {errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS}
_HURRY = 0.2  # seconds
_NAMED = 3  # files in a message
_LONGEST = 200  # bytes of a name; those of most systems have 255
_GROWING = (".md", ".markdown", "")  # suffixes of files to which Markdown may be added


def sidecar(artifact: Path, ending: str = CONTRACT) -> Path:
    """Where a document of an exported file lies, by default its contract: `<artifact><ending>`.

    Those of a symbolic link are beside the link if its contract is, or else beside the file behind.
    """
    return beside_or_behind(artifact, ending)


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` with the same suffix; on success it becomes `path`.

    The caller writes one file there, or puts a folder in its place. When the block ends it is
    flushed to disk and renamed; when the block raises, `KeyboardInterrupt` included, it is removed
    and `path` stays as it was.

    Warns with SignatureWarning where a signature beside the file is of the old content. Raises
    OverwriteError for a file this tool did not make (without `force`), TargetError where
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
    for target in targets:
        _tell_stale(target)


def _tell_stale(target: Path) -> None:
    """Warns where the signature beside a new file is of the content before it."""
    if is_stale(target):
        warnings.warn(
            f"{signature_beside(target)} is a signature of what {target} was before; sign it again "
            f"with `{TOOL} sign`, or delete the signature.",
            SignatureWarning,
            stacklevel=2,
        )


def _by_folder(targets: Iterable[Path]) -> list[list[Path]]:
    groups: dict[Path, list[Path]] = {}
    for target in targets:
        groups.setdefault(target.parent, []).append(target)
    return list(groups.values())


def refuse_overwrite(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """The file that writing to `path` would replace, symbolic links followed.

    Call it before long work, so that it fails early. Raises OverwriteError for an existing file
    that this tool did not make, and for a folder of ours with other files in it, unless `force`;
    TargetError for what is no plain file and no folder of ours, and for a name that is too long;
    UsageError for a `force` that is neither True nor False.
    """
    check_flags(force=force)
    target = Path(path)
    with explained(target):
        target = behind_link(target)
        _refuse_long(target)
        file_commit.recover(target.parent)
        if not target.exists():
            return target
        ours = is_ours(target)
        if target.is_dir() and not (ours or is_export_folder(target)):
            raise TargetError(
                f"{target} is a directory that {TOOL} did not make; choose another name, or one "
                "in it."
            )
        if not target.is_file() and not target.is_dir():
            raise TargetError(f"{target} is not a plain file and will not be replaced.")
        others = foreign_files(target) if ours and target.is_dir() else []
    if not force and not ours:
        raise OverwriteError(
            f"{target} {not_ours_because(target)}; choose another name or add --force."
        )
    if not force and others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise OverwriteError(
            f"{target} has files that {TOOL} did not write, or that were changed since: "
            f"{', '.join(others[:_NAMED])}{more}; move them elsewhere, choose another name, or "
            "lose them with --force."
        )
    return target


def _refuse_long(target: Path) -> None:
    length = len(os.fsencode(target.name))
    if length > _LONGEST:
        raise TargetError(
            f"{target} cannot be written: File name too long ({length} bytes); give it at most "
            f"{_LONGEST}, because files beside it have longer names."
        )


def require_suffix(path: str | os.PathLike[str], suffix: str) -> None:
    """UsageError unless writing to `path` writes a file of that suffix; "" means a folder.

    A symbolic link is followed: what it points to must be named so too.
    """
    for name in dict.fromkeys((str(path), os.path.realpath(path))):
        found = Path(name).suffix
        if suffix and found != suffix:
            raise UsageError(f"{name} must end in {suffix}; choose another name.")
        if not suffix and recogniser(Path(name)) is not None:
            raise UsageError(f"{name} names a file, but a folder is written; drop {found}.")


def same_place(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether both names are of one file, which need not exist; symbolic links are followed."""
    return os.path.realpath(path) == os.path.realpath(other)


def refuse_source(
    path: str | os.PathLike[str], source: str | os.PathLike[str], what: str = "the model itself"
) -> None:
    """UsageError if writing to `path` would replace `source`, or the folder that it lies in.

    `what` names the source in the message.
    """
    target, model = Path(path), Path(os.path.realpath(source))
    with explained(target):
        if not target.exists():
            return
        with reading(source):
            paths = [file for file in (model, *model.parents) if file.exists()]
        taken = [file for file in paths if target.samefile(file)]
    if taken:
        verb = "is" if taken == [model] else "contains"
        raise UsageError(f"{target} {verb} {what} ({source}); choose another name.")


def refuse_document(path: str | os.PathLike[str]) -> None:
    """UsageError for a name among the files of an export: in its folder, or as its contract."""
    target = Path(path)
    for ending in (CONTRACT, *DOCUMENTS, PLAN):
        of = target.with_name(target.name.removesuffix(ending))
        if of != target and is_export(of):
            raise UsageError(f"{target} is a document of {of.name}; choose another name.")
    if is_export(target.parent):
        raise UsageError(f"{target} lies in an exported folder; choose another name.")


def is_export(path: Path) -> bool:
    """Whether an exported file or folder has this name; what is in it is not read."""
    if path.is_dir():
        return is_export_folder(path)
    return suffix_kind(path) is not None and path.is_file()


def refuse_append(path: str | os.PathLike[str]) -> None:
    """UsageError unless Markdown can be added to `path`: a new file, or one of text, named so.

    A name without a suffix is one of a build server, as in $GITHUB_STEP_SUMMARY.

    Raises TargetError for a folder, and for a file that cannot be read.
    """
    target = Path(os.path.realpath(path))
    if target.suffix.lower() not in _GROWING:
        raise UsageError(
            f"{path} is no name of a Markdown file; choose another name, which ends in .md."
        )
    with explained(Path(path)):
        if (target.is_file() or target.is_dir()) and not is_text(target):
            raise UsageError(f"{path} is no text file, so nothing is added; choose another name.")


def remove_others(artifact: Path, documents: Collection[Path]) -> None:
    """Removes documents of ours beside an exported file that are of the file that was there before.

    `documents` are those of the new file, which stay.
    """
    for ending in DOCUMENTS:
        other = sidecar(artifact, ending)
        if other not in documents and is_ours(other):
            other.unlink(missing_ok=True)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        raise TargetError(f"{target} cannot be written: {_reason(target, error)}.") from error


def _reason(target: Path, error: OSError) -> str:
    """What the system says, or that a folder of the path is none."""
    parent = next((folder for folder in target.parents if folder.exists()), target.parent)
    if not parent.is_dir() and error.errno in (errno.EEXIST, errno.ENOTDIR):
        what = "a file, not a folder" if parent.is_file() else "not a folder"
        return f"{parent} is {what}; choose another name"
    return str(error.strerror or error)


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
