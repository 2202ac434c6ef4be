"""Compile a folder of generated code on the host, as a step server that can be compared."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from trm_export.errors import ParityError
from trm_runtime.message_text import printable

_COMPILERS = ("cc", "gcc", "clang")
_SOURCES = ("serve.c", "model.c", "weights.c")
_SECONDS = 300  # for the compiler


def compiler() -> str | None:
    """The first C compiler of this machine; None without one."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def compiled_server(folder: Path, target: Path, command: Sequence[str]) -> Path:
    """The step server of a folder, compiled to `target` with this compiler and these options.

    Raises ParityError, with the first words of the compiler, if it refuses the code.
    """
    sources = [str(folder / name) for name in _SOURCES]
    arguments = [*command, "-std=c99", "-o", str(target), *sources, "-lm"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        words = printable(done.stderr.strip())[:400]
        raise ParityError(f"{command[0]} refuses the generated code: {words}.")
    return target
