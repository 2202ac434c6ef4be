"""Look into what this tool writes: a `.keras` file, a contract, and every kind of export."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.artifacts.host_kinds import HOST_KINDS, host_kind
from trm_export.artifacts.sidecar import sidecar_text
from trm_export.errors import RejectedInputError
from trm_export.files import DOCUMENTS, PLAN
from trm_export.version import TOOL
from trm_runtime import strict_json
from trm_runtime.contract import StepContract
from trm_runtime.errors import reading
from trm_runtime.file_kinds import is_source

if TYPE_CHECKING:
    from trm_export.artifacts.onnx_info import OnnxFileInfo
    from trm_export.artifacts.source_info import SourceInfo
    from trm_export.artifacts.tflite_info import TFLiteFileInfo
    from trm_export.checkpoints.keras_file import KerasFileInfo
    from trm_export.device_cost import DeviceCost


@dataclass(frozen=True)
class ContractInfo:
    """A step contract, and the file or folder that holds it; truthy unless that is damaged."""

    kind: str  # "contract", or the name of a format, "saved-model" say
    path: str
    size: int  # bytes
    contract: StepContract
    sidecar: str | None = None  # of an export, as in `OnnxFileInfo`
    checksum_problems: tuple[str, ...] = ()  # of an export: what was changed
    sha256: str | None = None  # of an export: `tree_digest`, what --expect-sha256 takes
    device: DeviceCost | None = None  # of an export

    def __bool__(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the file is damaged."""
        return self.checksum_problems

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        return {**asdict(self), "contract": self.contract.document()}


def inspect_file(
    path: str | os.PathLike[str], trusted: Sequence[str] = ()
) -> KerasFileInfo | OnnxFileInfo | TFLiteFileInfo | ContractInfo | SourceInfo:
    """What the file or folder at `path` holds, by its kind.

    A `.keras` file may name classes of the `trusted` packages, which are not imported.

    Raises RejectedInputError for a file that is missing, damaged, refused or of another kind.
    """
    file = Path(path)
    with reading(file):
        source = is_source(file)
    if source:
        from trm_export.artifacts.source_info import inspect_source

        return inspect_source(file)
    known = host_kind(file)
    if known is not None:
        found: ContractInfo = known.load(known.inspector)(file)
        return found
    kind = "" if file.is_dir() else file.suffix.lower()
    if kind == ".keras":
        from trm_export.checkpoints.keras_file import inspect_keras

        return inspect_keras(file, trusted)
    if kind == ".json":
        text = sidecar_text(file)
        try:
            contract = StepContract.from_json(text, str(file))
        except RejectedInputError:
            _refuse_document(file, text)
            raise
        return ContractInfo("contract", str(file), len(text.encode()), contract)
    if not file.exists():
        raise RejectedInputError(f"{file}: there is no such file or folder.")
    raise RejectedInputError(f"{file}: expected {_known()}, got {file.suffix or 'no suffix'}.")


def _refuse_document(file: Path, text: str) -> None:
    """RejectedInputError for a document of this tool that is no contract."""
    ending = next((one for one in (*DOCUMENTS, PLAN) if file.name.endswith(one)), None)
    if ending is not None:
        of = file.with_name(file.name.removesuffix(ending))
        raise RejectedInputError(f"{file}: holds no step contract; inspect {of}, which it is of.")
    try:
        value = strict_json.parse(text)
    except ValueError:
        return
    ours = isinstance(value, dict) and str(value.get("tool")).startswith(TOOL)
    if ours and "schema_version" not in value:
        raise RejectedInputError(
            f"{file}: holds no step contract, but a result of {TOOL}; inspect an exported file."
        )


def _known() -> str:
    """The kinds of files that can be inspected, in words."""
    kinds = [kind.file for kind in HOST_KINDS.values()]
    *most, last = [".keras", *(kind.suffix for kind in kinds if kind.suffix), ".json"]
    folders = [kind.label for kind in kinds if not kind.suffix]
    return " or a ".join([f"a {', '.join(most)} or {last} file", *folders])
