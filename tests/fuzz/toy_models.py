"""`python -m tests.fuzz.toy_models FOLDER`: the toy model by TensorFlow, in a process of its own.

A process that has run TensorFlow cannot be forked, so the one that starts the children asks another
for the files.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.runtime.fakes import make_contract
from trm_runtime.drivers.saved_model import load_engine
from trm_runtime.lean_import import own_process

BATCH = 2
TFLITE, SAVED_MODEL = "toy.tflite", "toy"


@functools.cache
def toy_models() -> dict[str, bytes]:
    """The files by name: the flatbuffer, and those of the complete SavedModel."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "tests.fuzz.toy_models", folder]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def _write(folder: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    own_process()
    load_engine()  # TensorFlow, in half the time
    from tests.runtime.tf_graphs import flatbuffer, write_saved_model

    (folder / TFLITE).write_bytes(flatbuffer(BATCH))
    write_saved_model(folder / SAVED_MODEL, make_contract(batch=BATCH))


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
