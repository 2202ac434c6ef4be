"""Look into what this tool writes: `.keras`, `.onnx`, `.tflite`, a SavedModel, a contract."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.errors import RejectedInputError
from trm_export.files import is_ours, size_on_disk
from trm_runtime.contract import MAX_CONTRACT_BYTES, StepContract
from trm_runtime.drivers.saved_model_folder import contract_text, seal_problems

if TYPE_CHECKING:
    from trm_export.keras_file import KerasFileInfo
    from trm_export.onnx_file import OnnxFileInfo
    from trm_export.tflite_file import TFLiteFileInfo


@dataclass(frozen=True)
class ContractInfo:
    """A step contract, and the file or folder that holds it; true unless that is damaged."""

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
        from trm_export.keras_file import inspect_keras

        return inspect_keras(file, trusted)
    if kind == ".onnx":
        from trm_export.onnx_file import inspect_onnx

        return inspect_onnx(file)
    if kind == ".tflite":
        from trm_export.tflite_file import inspect_tflite

        return inspect_tflite(file)
    if kind == "folder":
        return _saved_model(file)
    if kind == ".json":
        text = _text(file)
        contract = StepContract.from_json(text, str(file))
        return ContractInfo("contract", str(file), len(text.encode()), contract)
    found = file.suffix or "no suffix"
    raise RejectedInputError(
        f"{file}: expected a .keras, .onnx, .tflite or .json file or a SavedModel folder, "
        f"got {found}"
    )


def sidecar_state(file: Path, contract: StepContract | None) -> str:
    """How the contract beside a file compares: "same", "differs", "missing", or the complaint."""
    beside = file.with_name(file.name + ".json")
    if not beside.exists():
        return "missing"
    try:
        other = StepContract.from_json(_text(beside), str(beside))
    except RejectedInputError as error:
        return str(error)
    return "same" if other == contract else "differs"


def lost_contract(file: Path) -> tuple[str, ...]:
    """The complaint about a file without a contract that is an export all the same.

    Its contract lies beside it, or is named in it; somebody else's file has neither.
    """
    beside = f"{file.name}.json beside it"
    if sidecar_state(file, None) == "differs":
        shown = f"its contract, which {beside} shows, is missing"
    elif is_ours(file):
        shown = "its contract, whose name is still in it, cannot be read"
    else:
        return ()
    return (f"it is cut short or was changed: {shown}; copy it again, or export it again",)


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


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_CONTRACT_BYTES + 1)
    except OSError as error:
        raise RejectedInputError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_CONTRACT_BYTES:
        raise RejectedInputError(
            f"{file}: not a step contract: more than {MAX_CONTRACT_BYTES} bytes"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{file}: not UTF-8 text: {error}") from error
