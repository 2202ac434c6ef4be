"""Look into any file this tool writes: `.keras`, `.onnx`, `.tflite` or a step contract."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.errors import RejectedInputError
from trm_runtime.contract import StepContract

if TYPE_CHECKING:
    from trm_export.keras_file import KerasFileInfo
    from trm_export.onnx_file import OnnxFileInfo
    from trm_export.tflite_file import TFLiteFileInfo


@dataclass(frozen=True)
class ContractFileInfo:
    """A step contract in a file of its own."""

    path: str
    size: int  # bytes
    contract: StepContract

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        return {"kind": "contract", **asdict(self)}


def inspect_file(
    path: str | os.PathLike[str],
) -> KerasFileInfo | OnnxFileInfo | TFLiteFileInfo | ContractFileInfo:
    """What the file at `path` holds, by its suffix.

    Raises RejectedInputError for a file that is missing, damaged, refused or of another kind.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if kind == ".keras":
        from trm_export.keras_file import inspect_keras

        return inspect_keras(file)
    if kind == ".onnx":
        from trm_export.onnx_file import inspect_onnx

        return inspect_onnx(file)
    if kind == ".tflite":
        from trm_export.tflite_file import inspect_tflite

        return inspect_tflite(file)
    if kind == ".json":
        return _inspect_contract(file)
    found = file.suffix or "no suffix"
    raise RejectedInputError(
        f"{file}: expected a .keras, .onnx, .tflite or .json file, got {found}"
    )


def _inspect_contract(file: Path) -> ContractFileInfo:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise RejectedInputError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{file}: not UTF-8 text: {error}") from error
    return ContractFileInfo(str(file), len(text.encode()), StepContract.from_json(text, str(file)))
