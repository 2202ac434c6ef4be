"""Builds `inject.c` and runs `sweep.py` under it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def missing() -> str | None:
    """Why faults cannot be injected here; None where they can."""
    if not sys.platform.startswith("linux"):
        return "faults are injected by LD_PRELOAD, on Linux"
    return None if shutil.which("cc") else "there is no C compiler (cc) to build the injector"


def built(folder: Path) -> Path:
    """The injector as a library."""
    library = folder / "inject.so"
    source = str(HERE / "inject.c")
    words = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), source]
    subprocess.run([*words, "-ldl"], check=True)
    return library


def sweep(folder: Path, *options: str) -> list[dict[str, Any]]:
    """The rows that `sweep.py` prints."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtimes"), os.environ.get("PYTHONPATH", "")])
    library = built(folder)
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, str(HERE / "sweep.py"), str(work), *options],
        env={**os.environ, "PYTHONPATH": paths, "LD_PRELOAD": str(library)},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]
