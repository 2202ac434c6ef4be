"""The puzzle embeddings of a model whose graph does not contain them: rows of a file beside it.

The table of many puzzles is larger than the network (100 MB beside 26 MB for ARC). Such a graph
takes the rows of its puzzles as the input `puzzle_embedding`; here they are read from a
memory-mapped `.npy`, so only the rows in use are in memory. Knows numpy and the contract; knows no
engine.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import PUZZLE_TABLE_SUFFIX, StepContract
from trm_runtime.digest import digest
from trm_runtime.errors import RejectedInputError
from trm_runtime.file_kinds import behind_link, beside, beside_or_behind
from trm_runtime.message_text import first_line
from trm_runtime.npy import Header, mapped_array, read_header
from trm_runtime.regular_file import open_regular
from trm_runtime.runner import Arrays, StepOutput, StepRunner
from trm_runtime.tensors import CarrySpec, TensorSpec, shape_text

EMBEDDING, IDENTIFIERS = "puzzle_embedding", "puzzle_identifiers"

_CURRENT = "current_"
_FOREIGN = "its SHA-256 is not that of the contract, so it belongs to another model"

Array = np.ndarray[Any, Any]


def table_beside(model: Path) -> Path:
    """The path of the table of a model: `<model>.puzzle_table.npy`."""
    return beside(model, PUZZLE_TABLE_SUFFIX)


def table_found(model: Path) -> Path:
    """The table of a model: by the rule of its documents, or else beside a link or its file."""
    own, behind = table_beside(model), table_beside(behind_link(model))
    names = beside_or_behind(model, PUZZLE_TABLE_SUFFIX), own, behind
    return next((name for name in names if name.is_file()), own)


def open_table(path: Path, contract: StepContract) -> Array:
    """The table, memory-mapped and read-only: (identifiers, width) float32.

    Raises RejectedInputError for a file that is missing, damaged, or not that of the contract.
    """
    try:
        with open_regular(path) as file:
            header = read_header(file, os.fstat(file.fileno()).st_size)
            problems = _differences(header, contract)
            if not problems and digest(file) != contract.puzzle_table_sha256:
                problems = [_FOREIGN]
    except OSError as error:
        raise RejectedInputError(
            f"{path}: the puzzle embeddings of the model cannot be read: "
            f"{error.strerror or error}; put them beside it under this name, or export it again."
        ) from error
    except ValueError as error:
        raise RejectedInputError(
            f"{path}: not a .npy file, or a damaged one: {first_line(error)}; copy it again."
        ) from error
    if problems:
        raise RejectedInputError(f"{path}: not the puzzle embeddings of this model:", problems)
    return mapped_array(path)


def _differences(header: Header, contract: StepContract) -> list[str]:
    wanted = (contract.num_puzzle_identifiers, _width(contract))
    problems = []
    if header.dtype != np.dtype("<f4"):
        problems.append(f"expected dtype float32, got {header.dtype}")
    if header.shape != wanted:
        problems.append(f"expected shape {shape_text(wanted)}, got {shape_text(header.shape)}")
    return problems


def _width(contract: StepContract) -> int | None:
    return next(spec.shape[1] for spec in contract.inputs if spec.name == EMBEDDING)


@final
class PuzzleTableRunner:
    """A StepRunner over another one that takes `puzzle_embedding`, with the table of its rows.

    Its contract is that of a model with the table in its graph: it takes `puzzle_identifiers`, and
    its carry has the identifier of each row's puzzle. The two are interchangeable.
    """

    def __init__(self, runner: StepRunner, table: Array) -> None:
        self._runner, self._table = runner, table
        self.contract: StepContract = identifiers_contract(runner.contract)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; see StepRunner.step."""
        given = check_step_call(self.contract, inputs, carry)
        new = given.pop(IDENTIFIERS)
        given[EMBEDDING] = self._table[new]
        current = carry.get(_CURRENT + IDENTIFIERS)
        if current is None:  # granularity loop
            return self._runner.step(given, carry)
        self._check_current(current)
        rest = {name: array for name, array in carry.items() if name != _CURRENT + IDENTIFIERS}
        output = self._runner.step(given, {**rest, _CURRENT + EMBEDDING: self._table[current]})
        after = {k: v for k, v in output.carry.items() if k != _CURRENT + EMBEDDING}
        after[_CURRENT + IDENTIFIERS] = np.where(carry["halted"], new, current)
        return StepOutput(after, output.outputs)

    def _check_current(self, current: Array) -> None:
        last = len(self._table) - 1
        problems = [
            f"carry {_CURRENT + IDENTIFIERS!r}, row {row}: id {current[row]} is not in 0..{last}"
            for row in np.flatnonzero((current < 0) | (current > last))
        ]
        if problems:
            raise RejectedInputError("The carry does not fit the model:", problems)


def identifiers_contract(contract: StepContract) -> StepContract:
    """The contract of a model with its table in its graph, from that of one without."""
    rows = (contract.batch,)
    current = CarrySpec(_CURRENT + IDENTIFIERS, f"{_CURRENT}{IDENTIFIERS}_next", "int32", rows, 0)
    return dataclasses.replace(
        contract,
        puzzle_table_sha256=None,
        inputs=tuple(
            TensorSpec(IDENTIFIERS, "int32", rows) if spec.name == EMBEDDING else spec
            for spec in contract.inputs
        ),
        carry=tuple(
            current if spec.name == _CURRENT + EMBEDDING else spec for spec in contract.carry
        ),
    )
