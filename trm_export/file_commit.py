"""Finished temporary files take the names they were written for: those of a folder all, or none.

A file replaces another in one system call, and so does a folder where the system can exchange two
names. What takes more than one call is first listed in a *note*, `.<name>.<token>.commit`: an error
takes back what was done, and whoever is killed leaves the note, by which `recover` finishes the
work. At every instant the old content is there or the new, under its name or named by the note.

A note lists names of its own folder and the inode of each new file; temporary names follow from
them. So it cannot reach outside, and tells what is done. Knows nothing about what files mean.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trm_runtime.errors import RejectedInputError
from trm_runtime.regular_file import open_regular

STALE_SECONDS = 3600.0  # a temporary file untouched for so long was left by a killed writer

_NOTE = ".commit"
_MAX_NOTE_BYTES = 1 << 16
_TOKEN = 8  # characters
_PATIENCE = 10.0  # seconds to wait for another writer, who needs milliseconds unless it is stopped
_committing = threading.RLock()
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NO_FLUSH = frozenset({errno.EACCES, errno.EINVAL, errno.ENOTSUP})  # of a folder
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM})


@dataclass(frozen=True)
class _Entry:
    """One file or folder of a commit."""

    target: Path
    token: str  # of the writer
    inode: int  # of the new content

    @property
    def new(self) -> Path:
        """Where the new content waits; afterwards, where the old one is."""
        return temporary_name(self.target, self.token)

    @property
    def aside(self) -> Path:
        """Where the old content is for a moment, where two names cannot be exchanged."""
        return self.target.with_name(f".{self.target.stem}.{self.token}.old{self.target.suffix}")

    @property
    def is_done(self) -> bool:
        """Whether the target is the new content."""
        return _inode(self.target) == self.inode


def temporary_name(target: Path, token: str) -> Path:
    """A hidden name of the writer's own; the suffix stays, because a format is chosen by it."""
    return target.with_name(f".{target.stem}.{token}.part{target.suffix}")


def commit(targets: Sequence[Path], token: str) -> None:
    """Gives what lies under the temporary names of `targets`, all of one folder, their names.

    Everything is forced to disk first. Raises OSError, and then no target has changed but where
    the disk did not take that back either: a note remains, and `recover` finishes it.
    """
    entries = [_Entry(target, token, _inode(temporary_name(target, token))) for target in targets]
    for entry in entries:
        flush_all(entry.new)
    folder = targets[0].parent
    with _committing, _locked(folder):
        if len(entries) == 1 and not targets[0].is_dir():
            entries[0].new.replace(entries[0].target)
            with suppress(OSError):  # the file is in place
                flush(folder)
        else:
            _commit_noted(folder, entries)


def discard(targets: Sequence[Path], token: str, wait: float = -1) -> None:
    """Removes what is left under the temporary names, unless a note needs it.

    Waits so many seconds for another thread that puts files in place, then leaves all as it is.
    """
    if not targets or not _committing.acquire(timeout=wait):
        return
    try:
        if not _note(targets[0], token).exists():
            for entry in (_Entry(target, token, -1) for target in targets):
                remove(entry.new)
                if os.path.lexists(entry.target):
                    remove(entry.aside)
    finally:
        _committing.release()


def recover(folder: Path) -> None:
    """Finishes, or takes back, what a killed writer had begun to put in place in this folder.

    Does nothing where there is no note, or where the folder cannot be written.
    """
    with suppress(OSError):
        if _notes(folder):
            with _locked(folder):  # whose writer, if it lives, has finished when it is our turn
                for note in _notes(folder):
                    with suppress(OSError):  # of a note that is not ours
                        _recover(note)


def remove_stale(target: Path) -> None:
    """Removes what killed writers of this target left under temporary names, after `recover`."""
    prefix, suffixes = f".{target.stem}.", (f".part{target.suffix}", f".old{target.suffix}")
    with suppress(OSError), _locked(target.parent):
        names = [path.name for path in target.parent.iterdir()]
        left = [name for name in names if name.startswith(prefix) and name.endswith(suffixes)]
        if not left or any(name.endswith(_NOTE) for name in names):
            return
        for path in (target.with_name(name) for name in left):
            if time.time() - path.stat().st_mtime > STALE_SECONDS and os.path.lexists(target):
                remove(path)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def flush_all(path: Path) -> None:
    """Forces a file, or a folder with all that is in it, to disk."""
    for inside in sorted(path.rglob("*")) if path.is_dir() else ():
        flush(inside)
    flush(path)


def flush(path: Path) -> None:
    """Forces a file to disk, or a directory's list of names where it and the disk allow that."""
    is_folder = path.is_dir()
    if os.name == "nt" and is_folder:
        return  # Windows opens no directories
    try:
        handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if not is_folder or error.errno not in _NO_FLUSH:
            raise


def _commit_noted(folder: Path, entries: Sequence[_Entry]) -> None:
    note = _note(entries[0].target, entries[0].token)
    try:
        _write_note(note, entries)
        flush(folder)
        for entry in entries:
            _place(entry)
        flush(folder)
    except BaseException:
        _take_back(entries)
        note.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # all is done; `recover` will see that, too
        note.unlink()


def _place(entry: _Entry) -> None:
    """The new content gets its name; the old one, if there is one, that of the temporary file."""
    if os.path.lexists(entry.target):
        _swap(entry)
    else:
        entry.new.replace(entry.target)


def _take_back(entries: Sequence[_Entry]) -> None:
    """What `_place` did is undone, or OSError."""
    for entry in reversed(entries):
        if entry.is_done and os.path.lexists(entry.new):
            _swap(entry)
        elif entry.is_done and entry.aside.exists():
            entry.target.replace(entry.new)
            entry.aside.replace(entry.target)
        elif entry.is_done:
            entry.target.replace(entry.new)
        elif not entry.target.exists() and entry.aside.exists():
            entry.aside.replace(entry.target)


def _finish(entries: Sequence[_Entry]) -> None:
    """What `_place` had not done yet is done, or OSError."""
    for entry in entries:
        if entry.is_done:
            continue
        if _inode(entry.new) == entry.inode:
            _place(entry)
        elif entry.aside.exists() and not os.path.lexists(entry.target):
            entry.aside.replace(entry.target)


def _recover(note: Path) -> None:
    entries = _read_note(note)
    try:
        _finish(entries)
    except OSError:
        _take_back(entries)
    flush(note.parent)
    note.unlink()
    for entry in entries:
        remove(entry.new)
        remove(entry.aside)


def _swap(entry: _Entry) -> None:
    """Target and temporary file change their names."""
    if _exchanged(entry.new, entry.target):
        return
    if entry.target.is_dir():
        entry.target.replace(entry.aside)
        entry.new.replace(entry.target)
    else:
        shutil.copyfile(entry.target, entry.aside)
        entry.new.replace(entry.target)
    entry.aside.replace(entry.new)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two names in one system call; False where system or disk know none."""
    call = _exchange_call()
    if call is None:
        return False
    if not call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


@functools.cache
def _exchange_call() -> Callable[..., int] | None:
    """Linux's `renameat2`, since glibc 2.28; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = (
            ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
        )  # fmt: skip
    return call


def _note(target: Path, token: str) -> Path:
    return target.with_name(f".{target.stem}.{token}{_NOTE}")


def _notes(folder: Path) -> list[Path]:
    with os.scandir(folder) as names:
        found = [each.name for each in names if each.name.endswith(_NOTE)]
    return [folder / name for name in sorted(found) if name.startswith(".")]


def _write_note(note: Path, entries: Sequence[_Entry]) -> None:
    inodes = {entry.target.name: entry.inode for entry in entries}
    note.write_text(json.dumps({"token": entries[0].token, "inodes": inodes}), encoding="utf-8")
    flush(note)


def _read_note(note: Path) -> list[_Entry]:
    """The entries of a note; none of one that was cut short, and then nothing had been done.

    Nor has one that no writer of ours made, such as one that came in an archive.
    """
    try:
        with open_regular(note) as file:
            text = json.loads(file.read(_MAX_NOTE_BYTES))
        token, inodes = text["token"], text["inodes"].items()
        sound = note.name.endswith(f".{token}{_NOTE}") and len(token) == _TOKEN and token.isalnum()
        plain = all(_is_plain(name) and type(n) is int and n > 0 for name, n in inodes)
    except (RejectedInputError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    return [_Entry(note.with_name(name), token, n) for name, n in inodes] if sound and plain else []


def _is_plain(name: str) -> bool:
    """Whether that is the name of a file in a folder; ValueError if the system cannot write it."""
    return name not in ("", "..") and Path(name).name == name and b"\0" not in os.fsencode(name)


def _inode(path: Path) -> int:
    """Which file lies under a name; -1 for none."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return -1


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time renames files in a folder; the lock ends with the process.

    Without a lock where a folder cannot be locked (Windows, some disks), or after a short wait.
    """
    handle = None
    try:
        with suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            until = time.monotonic() + _PATIENCE
            while not _lock(fcntl, handle) and time.monotonic() < until:
                time.sleep(0.01)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(fcntl: Any, handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
