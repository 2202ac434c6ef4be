"""Remove an engine's log lines from standard error. Standard library only.

Engines write them to the file descriptor, and have no setting that turns all of them off.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import IO, final

LEVEL, SILENT = "TF_CPP_MIN_LOG_LEVEL", "3"  # an environment variable of TensorFlow, and its value
_TENSORFLOW = "tensorflow"
_LINES = re.compile(rb"^(WARNING: All log messages before absl::|[IWE]\d{4} ).*\n", re.MULTILINE)
"""Lines that TensorFlow logs before it reads the level, and some until 2.20 whatever it is."""


def memory_file() -> IO[bytes]:
    """A file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("kept"), "w+b")
    return tempfile.TemporaryFile()


_lock = threading.Lock()  # two threads must not swap descriptors crosswise


@contextmanager
def without(remarks: re.Pattern[bytes]) -> Iterator[None]:
    """Remove what matches; everything else that the block writes is written at its end."""
    with _lock:
        try:
            kept, shown = memory_file(), os.dup(2)
        except OSError:  # no standard error, or no place to keep what is written there
            yield
            return
        with kept:
            os.dup2(kept.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(shown, 2)
                os.close(shown)
                kept.seek(0)
                rest = remarks.sub(b"", kept.read())
                if rest:
                    os.write(2, rest)


def quiet_tensorflow() -> None:
    """From now on TensorFlow loads without its log lines, whoever imports it.

    A level that the user has set is left as it is, and the lines are then shown.
    """
    if os.environ.setdefault(LEVEL, SILENT) != SILENT or _TENSORFLOW in sys.modules:
        return
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def unlogged(version: str) -> Iterator[None]:
    """While TensorFlow of this version converts a graph, remove what it logs of that.

    TensorFlow 2.21 and later keep to the level by themselves. Where the user has set another level,
    the lines are shown. What others write to standard error meanwhile is written at the end.
    """
    old = [int(part) for part in version.split(".")[:2]] < [2, 21]
    if not old or os.environ.get(LEVEL) != SILENT:
        yield
        return
    with without(_LINES):
        yield


@final
class _Finder(MetaPathFinder):
    """Finds TensorFlow where it is, with a loader that removes its lines."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TENSORFLOW:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


@final
class _QuietLoader(Loader):
    """Another loader, without the lines."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with without(_LINES):
            self._loader.exec_module(module)
