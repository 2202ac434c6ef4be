"""The `.onnx` file: its framing, metadata, checksum and contract; and the engine that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_json import changed_text
from tests.fuzz.mutate_wire import changed
from tests.fuzz.reader import Files, Reader, one_file
from tests.runtime.fakes import make_contract
from tests.runtime.graphs import build
from trm_runtime import StepContract, open_runner, solve
from trm_runtime.contract import METADATA_KEY
from trm_runtime.drivers.onnx_file import read_contract, sealed
from trm_runtime.drivers.onnx_wire import metadata_value, with_metadata
from trm_runtime.drivers.onnxruntime import load_engine

_NAME = "model.onnx"
_PUZZLES = np.array([[1, 2, 3, 4], [2, 1, 1, 3]], np.int32)


def _seeds() -> Sequence[Files]:
    contracts = make_contract(), make_contract(batch=2)
    return [{_NAME: sealed(build(one).SerializeToString())} for one in contracts]


def _mutate(rng: Random, data: bytes) -> bytes:
    """Damage of the file; or of the message or the contract, under a right checksum."""
    kind = rng.random()
    if kind < 0.3:
        return damaged(rng, data)
    if kind < 0.7:
        new = changed(rng, data)
        return sealed(new) if rng.random() < 0.8 else new
    return _other_contract(rng, data)


def _mutate_graph(rng: Random, data: bytes) -> bytes:
    """Only what the checksum does not find."""
    return sealed(changed(rng, data)) if rng.random() < 0.6 else _other_contract(rng, data)


def _other_contract(rng: Random, data: bytes) -> bytes:
    contract = metadata_value(data, METADATA_KEY)
    assert contract is not None  # a good file
    text = changed_text(rng, bytes(contract))
    return sealed(with_metadata(data, METADATA_KEY, text))


def _call(folder: Path) -> Any:
    return StepContract.from_json(read_contract(folder / _NAME)).to_json().encode()


def _run(folder: Path) -> Any:
    runner = open_runner(folder / _NAME, threads=1)
    solution = solve(runner, _PUZZLES)
    return solution.answers.tolist(), solution.steps.tolist(), solution.stop_reasons


READERS = (
    Reader("onnx", _seeds, one_file(_mutate), _call),
    Reader("onnx, run", _seeds, one_file(_mutate_graph), _run, True, load_engine, 200),
)
