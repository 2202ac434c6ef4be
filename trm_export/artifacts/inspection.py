"""Inspect the files that this tool writes: `.keras`, `.onnx`, `.tflite`, SavedModel, contract."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.artifacts.sidecar import sidecar_state, sidecar_text
from trm_export.errors import RejectedInputError
from trm_export.files import size_on_disk
from trm_runtime.contract import StepContract
from trm_runtime.drivers.saved_model_folder import contract_text, seal_problems

if TYPE_CHECKING:
    from trm_export.artifacts.onnx_info import OnnxFileInfo
    from trm_export.artifacts.tflite_info import TFLiteFileInfo
    from trm_export.checkpoints.keras_file import KerasFileInfo


@dataclass(frozen=True)
class ContractInfo:
    """A step contract, and the file or folder that holds it; truthy unless that is damaged."""

    kind: str  # "contract" or "saved-model"
    path: str
    size: int  # bytes
    contract: StepContract
    sidecar: str | None = None  # of an export, as in `OnnxFileInfo`
    checksum_problems: tuple[str, ...] = ()  # of a folder: the files that were changed

    def __bool__(self) -> bool:
        return not self.checksum_problems

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        return {**asdict(self), "contract": self.contract.document()}


def inspect_file(
    path: str | os.PathLike[str], trusted: Sequence[str] = ()
) -> KerasFileInfo | OnnxFileInfo | TFLiteFileInfo | ContractInfo:
    """What the file or SavedModel folder at `path` holds, by its kind.

    A `.keras` file may name classes of the `trusted` packages, which are not imported.

    Raises RejectedInputError for a file that is missing, damaged, refused or of another kind.
    """
    file = Path(path)
    kind = "folder" if file.is_dir() else file.suffix.lower()
    if kind == ".keras":
        from trm_export.checkpoints.keras_file import inspect_keras

        return inspect_keras(file, trusted)
    if kind == ".onnx":
        from trm_export.artifacts.onnx_info import inspect_onnx

        return inspect_onnx(file)
    if kind == ".tflite":
        from trm_export.artifacts.tflite_info import inspect_tflite

        return inspect_tflite(file)
    if kind == "folder":
        return _saved_model(file)
    if kind == ".json":
        text = sidecar_text(file)
        contract = StepContract.from_json(text, str(file))
        return ContractInfo("contract", str(file), len(text.encode()), contract)
    suffix = file.suffix or "no suffix"
    raise RejectedInputError(
        f"{file}: expected a .keras, .onnx, .tflite or .json file or a SavedModel folder, "
        f"got {suffix}."
    )


def _saved_model(folder: Path) -> ContractInfo:
    contract = StepContract.from_json(contract_text(folder), f"{folder}: its step contract")
    return ContractInfo(
        "saved-model",
        str(folder),
        size_on_disk(folder),
        contract,
        sidecar_state(folder, contract),
        tuple(seal_problems(folder)),
    )
