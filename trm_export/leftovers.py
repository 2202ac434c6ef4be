"""Temporary files that are removed when a process ends at once, without leaving its blocks.

A block that creates something temporary registers the function that removes it. The code that ends
the process (`trm_export.commands.support.interruption`) calls `clear` first. What is kept for the
next try, finished parts of a long job, is named by `kept`, and so are its finished files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import cache_from_source
from pathlib import Path

from trm_export.errors import TargetError
from trm_runtime.streams import FULL

JOB = "job.json"  # in a folder of finished parts: what they are of
LOCK = ".job.lock"  # there while a job runs
_AUTOGRAPH = "__autograph_generated_file"  # modules that TensorFlow writes to TMPDIR

_removals: dict[object, Callable[[], object]] = {}
_finished: list[Path] = []
_kept: dict[Path, None] = {}  # folders of finished parts, the outer ones first


@contextmanager
def removed_by(remove: Callable[[], object]) -> Iterator[None]:
    """While the block runs, `clear` calls this function; the end of the block does not."""
    key = object()
    _removals[key] = remove
    try:
        yield
    finally:
        _removals.pop(key, None)


def clear() -> None:
    """Removes everything temporary, the newest first; an error keeps nothing from the others."""
    while _removals:
        with suppress(Exception):
            _removals.popitem()[1]()
    clear_autograph()


def clear_autograph() -> None:
    """Removes the files of the functions that TensorFlow has converted in this process.

    It needs them only while it converts; it removes them itself at the end of a process, but not
    of one that is killed, or of a child that ends at once.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(_AUTOGRAPH) and module.__file__:
            Path(module.__file__).unlink(missing_ok=True)
            # The folder of compiled modules may be another user's, or none.
            with suppress(OSError, NotImplementedError):
                compiled = Path(cache_from_source(module.__file__))
                compiled.unlink()
                compiled.parent.rmdir()


def keep(folder: Path) -> None:
    """From now on this folder of finished parts remains if the process ends."""
    _kept[folder] = None


def forget(*folders: Path) -> None:
    """These folders of parts are removed, or of no concern; without any, all of them."""
    for folder in folders or tuple(_kept):
        _kept.pop(folder, None)


@contextmanager
def finished_files() -> Iterator[list[Path]]:
    """While the block runs, `kept` names the files in the list, which are written one by one."""
    try:
        yield _finished
    finally:
        _finished.clear()


def kept() -> list[str]:
    """A sentence about each folder of parts that remains, and about finished files.

    Call it after `clear`.

    A folder without a finished part is removed.
    """
    for folder in [one for one in _kept if not any(one.rglob("*.npz"))]:
        _remove_begun(folder)
    there = [folder for folder in _kept if folder.is_dir()]
    files = [f"Finished files: {', '.join(map(str, _finished))}."] if _finished else []
    return files + [
        f"Finished parts are kept in {folder}: the same command goes on from there; delete the "
        "folder if you do not need them."
        for folder in there
        if not any(other in folder.parents for other in there)
    ]


def _remove_begun(folder: Path) -> None:
    """Removes a folder that holds the description of its job and its lock, and nothing else."""
    with suppress(OSError):
        (folder / JOB).unlink(missing_ok=True)  # a full disk may not have held it
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def scratch_of(owner: object) -> Path:
    """A new temporary folder, removed with `owner` or at the end of the process."""
    import shutil
    import tempfile
    import weakref

    made = Path(tempfile.mkdtemp(prefix="trm-"))
    _removals[made] = weakref.finalize(owner, shutil.rmtree, made, ignore_errors=True)
    return made


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, removed when the block ends; see `filling`."""
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="trm-", ignore_cleanup_errors=True)
    with removed_by(folder.cleanup), folder, filling(Path(folder.name)):
        yield Path(folder.name)


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """A temporary folder is written to in the block.

    Raises TargetError naming the place, and how to choose another, where the disk is full.
    """
    try:
        yield
    except OSError as error:
        named = str(folder) if error.filename is None else str(error.filename)
        if error.errno not in FULL or not named.startswith(str(folder)):
            raise
        raise TargetError(
            f"The folder for temporary files, {folder.parent}, cannot be written: "
            f"{error.strerror}. Set TMPDIR to one with more room."
        ) from error
