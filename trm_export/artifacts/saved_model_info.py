"""Look into the folder of a SavedModel: its contract and its checksums. Loads no TensorFlow."""

from __future__ import annotations

from pathlib import Path

from trm_export.artifacts.inspection import ContractInfo
from trm_export.artifacts.sidecar import sidecar_state
from trm_export.device_cost import DeviceCost, MemoryPart, device_cost, states_of
from trm_export.files import size_on_disk
from trm_runtime.contract import StepContract
from trm_runtime.digest import tree_digest
from trm_runtime.drivers.saved_model_folder import CONTRACT_FILE, contract_text, seal_problems
from trm_runtime.file_kinds import kind_of

_UNKNOWN = "not known without TensorFlow; `trm-export bench` measures the process"


def inspect_saved_model(folder: Path) -> ContractInfo:
    """What the folder holds. Raises RejectedInputError for one without a readable contract."""
    if not (folder / CONTRACT_FILE).exists():
        kind_of(folder)  # refuses a folder that is no model at all
    contract = StepContract.from_json(contract_text(folder), f"{folder}: its step contract")
    size = size_on_disk(folder)
    return ContractInfo(
        "saved-model",
        str(folder),
        size,
        contract,
        sidecar_state(folder, contract),
        tuple(seal_problems(folder)),
        tree_digest(folder),
        _cost(size, contract),
    )


def _cost(size: int, contract: StepContract) -> DeviceCost:
    """The needs that are known without TensorFlow."""
    parts = (states_of(contract), MemoryPart("weights and scratch", None, _UNKNOWN))
    return device_cost(size, parts, None, contract, _UNKNOWN, "the folder, without TensorFlow")
