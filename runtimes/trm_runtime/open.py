"""Open an exported model with the engine its file kind asks for."""

from __future__ import annotations

import os
from pathlib import Path

from trm_runtime.errors import RejectedInputError
from trm_runtime.runner import StepRunner


def open_runner(path: str | os.PathLike[str], threads: int | None = None) -> StepRunner:
    """A runner for the model at `path`; `threads` is how many the engine may use in one step.

    Raises RejectedInputError for a file that is missing, of unknown kind, damaged or not what its
    contract says, MissingExtraError when the engine is not installed.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        from trm_runtime.drivers.onnx import OnnxRunner

        return OnnxRunner(path, threads=threads)
    found = path.suffix or "no suffix"
    raise RejectedInputError(f"{path}: {found} is not a kind of model known here; expected .onnx")
