"""Read the tensors of a `.safetensors` file into numpy; bfloat16 comes from `ml_dtypes`."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from trm_export.errors import CheckpointError
from trm_export.step.weights import Arrays

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def read(path: Path) -> Arrays:
    """Every tensor by its name in the file, read-only.

    Raises CheckpointError for a damaged file and, listing them, for tensors of other dtypes.
    """
    try:
        stored = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a safetensors file, or a damaged one; copy it again."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}.") from error
    problems = [
        f"{name}: dtype {tensor['dtype']}, expected {', '.join(DTYPES)}"
        for name, tensor in stored
        if tensor["dtype"] not in DTYPES
    ]
    if problems:
        raise CheckpointError(f"{path}: contains tensors that are not weights:", problems)
    return {
        name: np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in stored
    }
