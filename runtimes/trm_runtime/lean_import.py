"""Load a framework faster in a process that runs a command and no user's program."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

OF_TENSORFLOW = ("jax", "matplotlib")
"""TensorFlow and Keras import these if they are installed, for functions that no command calls."""

_own_process = False


def own_process() -> None:
    """Say that this process runs a command and no user's program: frameworks load faster then."""
    global _own_process
    _own_process = True


@contextmanager
def lean_import(framework: str, unused: Iterable[str]) -> Iterator[None]:
    """In a process of its own, import a framework without these packages, and collect no garbage.

    Collections find nothing meanwhile. What is loaded stays, so that later ones need not look at
    it; the packages can be imported afterwards. Without jax and matplotlib TensorFlow takes 2.2 s
    of processor time instead of 3.9 s.
    """
    if not _own_process or framework in sys.modules:
        yield
        return
    hidden = [name for name in unused if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not importable
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        gc.enable()
