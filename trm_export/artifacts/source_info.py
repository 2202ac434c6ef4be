"""Look into a folder of generated code: its contract, its memory, and what was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trm_export.artifacts.sidecar import sidecar_state, sidecar_text
from trm_export.device_cost import (
    AT_MOST,
    EXACT,
    DeviceCost,
    MemoryPart,
    device_cost,
)
from trm_export.errors import RejectedInputError
from trm_export.own_files import SOURCE_MEMORY
from trm_export.own_folders import size_of_export
from trm_runtime import strict_json
from trm_runtime.contract import StepContract
from trm_runtime.digest import file_digest, tree_digest
from trm_runtime.file_kinds import SOURCE_CONTRACT
from trm_runtime.message_text import shown

_MOST = 1 << 62  # a size beyond it is no size
SIZES = ("constants", "carry", "outputs", "scratch", "flash", "ram", "macs")


@dataclass(frozen=True)
class SourceInfo:
    """A folder of generated code; truthy unless a file of it was changed or is missing."""

    kind: str  # "c"
    path: str
    size: int  # bytes of all files but those that the Makefile builds
    contract: StepContract
    sidecar: str  # the contract beside it, as in `sidecar_state`
    sha256: str  # of the folder: `tree_digest`
    memory: dict[str, int]  # bytes by the names of `SIZES`; `macs` are multiply-accumulates a step
    checksum_problems: tuple[str, ...]
    kept_in_float: tuple[str, ...] = ()  # layers of an int8 model
    device: DeviceCost | None = None

    def __bool__(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the folder is damaged."""
        return self.checksum_problems

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        return {**asdict(self), "contract": self.contract.document()}


def inspect_source(folder: Path) -> SourceInfo:
    """What the folder holds. Raises RejectedInputError if a document in it cannot be read."""
    contract = StepContract.from_json(sidecar_text(folder / SOURCE_CONTRACT), str(folder))
    sizes, digests, kept = _memory(folder / SOURCE_MEMORY)
    problems = tuple(_changed(folder, digests))
    state = sidecar_state(folder, contract)
    digest = tree_digest(folder)
    return SourceInfo(
        "c", str(folder), size_of_export(folder), contract, state, digest, sizes, problems, kept,
        _cost(sizes, contract),
    )  # fmt: skip


def _cost(sizes: dict[str, int], contract: StepContract) -> DeviceCost:
    named = {"states": "carry", "outputs": "outputs", "scratch": "scratch"}
    static = [MemoryPart(name, sizes[key], EXACT) for name, key in named.items()]
    stack = max(sizes["ram"] - sum(sizes[key] for key in named.values()), 0)
    parts = (*static, MemoryPart("stack", stack, AT_MOST))
    how = f"{sizes['constants']:,} of constants, {AT_MOST} with the code"
    return device_cost(sizes["flash"], parts, sizes["macs"], contract, EXACT, how)


def _memory(path: Path) -> tuple[dict[str, int], dict[str, str], tuple[str, ...]]:
    """The sizes, the digest of each file, and the layers that are kept in float."""
    try:
        facts: Any = strict_json.parse(sidecar_text(path))
        sizes, digests = {name: facts[name] for name in SIZES}, dict(facts["sha256"])
        kept = tuple(facts.get("kept_in_float", ()))
        sound = all(type(size) is int and 0 <= size <= _MOST for size in sizes.values())
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound or not all(isinstance(text, str) for text in (*digests.values(), *kept)):
        raise RejectedInputError(f"{path}: does not have the sizes of generated code.")
    return sizes, digests, kept


def _changed(folder: Path, digests: dict[str, str]) -> Iterator[str]:
    there = {file.name: file for file in folder.iterdir()}
    for name, digest in digests.items():
        if name not in there:
            yield f"{shown(name)} is missing"
        elif file_digest(there[name]) != digest:
            yield f"{shown(name)} was changed"
