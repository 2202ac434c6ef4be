"""The step contract as JSON text, alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.mutate_json import changed_text
from tests.fuzz.reader import Files, Reader, one_file
from tests.runtime.fakes import make_contract
from trm_runtime import StepContract, Symmetries

_NAME = "contract.json"


def texts() -> list[bytes]:
    """The contracts of a step, of one with puzzle identifiers, and of one with symmetries."""
    symmetries = Symmetries(((1, 0, 3, 2),), ((2, 3, 4, 5),))
    contracts = [
        make_contract(),
        make_contract(batch=2, num_puzzle_identifiers=5),
        make_contract(symmetries=symmetries),
    ]
    return [contract.to_json().encode() for contract in contracts]


def _seeds() -> Sequence[Files]:
    return [{_NAME: text} for text in texts()]


def _call(folder: Path) -> Any:
    text = (folder / _NAME).read_bytes().decode("utf-8", "replace")
    contract = StepContract.from_json(text)
    return contract.to_json().encode(), contract.summary


READERS = (Reader("contract", _seeds, one_file(changed_text), _call),)
